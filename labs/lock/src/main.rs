//! Runs one node of the lock lab.

fn main() -> std::process::ExitCode {
    node::main(lock::node, proto::lock::DESCRIPTORS, lock::BUILD)
}
