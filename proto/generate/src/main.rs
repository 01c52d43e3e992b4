//! Makes the code in `proto/src/generated` anew after a change of a `.proto`, by `cargo run` here.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
};

use prost::Message;

/// Contents by the file's name.
type Files = BTreeMap<String, Vec<u8>>;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = proto().join("src/generated");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (name, contents) in generated()? {
        fs::write(folder.join(name), contents)?;
    }
    Ok(())
}

fn proto() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this lies in proto/")
}

/// For each lab the code of its messages, clients and servers, the descriptors of both (an encoded
/// `google.protobuf.FileDescriptorSet`), and a module that holds them.
fn generated() -> Result<Files, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut labs = BTreeSet::new();
    for entry in fs::read_dir(proto())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "proto") {
            continue;
        }
        let lab = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let descriptors = protox::compile([&path], [proto()])?;
        fs::write(folder.path().join(format!("{lab}.bin")), descriptors.encode_to_vec())?;
        tonic_prost_build::configure()
            // Equal messages have equal bytes.
            .btree_map(".")
            .out_dir(folder.path())
            .compile_fds(descriptors)?;
        labs.insert(lab);
    }
    let modules: String = labs.iter().map(|lab| module(lab)).collect();
    fs::write(folder.path().join("mod.rs"), format!("//! A module a lab.\n{modules}"))?;
    files_in(folder.path())
}

fn module(lab: &str) -> String {
    format!(
        "\npub mod {lab} {{\n    include!(\"faultline.{lab}.v1.rs\");\n\n    \
         pub const DESCRIPTORS: &[u8] = include_bytes!(\"{lab}.bin\");\n}}\n"
    )
}

fn files_in(folder: &Path) -> Result<Files, Box<dyn Error>> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(files)
}

#[test]
fn the_code_in_the_repository_is_made_from_the_proto_files() {
    let (committed, made) =
        (files_in(&proto().join("src/generated")).unwrap(), generated().unwrap());
    let stale: Vec<_> = made.iter().filter(|(name, it)| committed.get(*name) != Some(it)).collect();
    let stale: Vec<_> = stale.into_iter().map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "{stale:?} are out of date: type cargo run in proto/generate");
    assert_eq!(committed.len(), made.len(), "proto/src/generated holds something else, too");
}
