//! Runs one node of the key-value lab.

fn main() -> std::process::ExitCode {
    node::main(kv::node, proto::kv::DESCRIPTORS, kv::BUILD)
}
