//! Compiles each lab's `.proto` with protox, so that nobody has to install protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const LABS: [&str; 2] = ["kv", "lock"];

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    for lab in LABS {
        let file = format!("{lab}.proto");
        println!("cargo:rerun-if-changed={file}");
        let descriptors = protox::compile([&file], ["."])?;
        fs::write(out_dir.join(format!("{lab}.bin")), descriptors.encode_to_vec())?;
        tonic_prost_build::configure()
            // Equal messages have equal bytes.
            .btree_map(".")
            .compile_fds(descriptors)?;
    }
    Ok(())
}
