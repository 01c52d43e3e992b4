//! The scratch tree: a shadow of the workspace with other code in it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Kind;
use crate::{
    lab::Lab,
    sources::{Files, read_into},
    variant::GapTexts,
    workspace::Workspace,
};

/// The name of the crate that holds the variant of this number: the first one takes the lab's own
/// place, so that errors name files that the learner has.
pub fn crate_name(lab: &Lab, number: usize) -> String {
    match number {
        0 => lab.name.clone(),
        _ => format!("{}-{number}", lab.name),
    }
}

/// Makes the scratch tree a shadow of the workspace with each of the `variants` in a crate of its
/// own, a variant being the texts of the gap files, or the lab as it is; and with the package of a
/// simulation where that is what is to be built.
pub fn lay(
    workspace: &Workspace,
    lab: &Lab,
    variants: &[Option<GapTexts>],
    kind: Kind,
) -> Result<PathBuf> {
    let tree = workspace.lab_dir().join("tree");
    let lay = || -> Result<()> {
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(tree.join("labs"))?;
        let mut files = Files::new();
        for (number, texts) in variants.iter().enumerate() {
            add_lab(lab, texts.iter().flatten(), number, &mut files)?;
        }
        if kind.simulates() {
            add_simulation(workspace, lab, variants.len(), &mut files)?;
        }
        for name in ["Cargo.toml", "Cargo.lock", ".cargo", "proto", "harness", "tests"] {
            if !files.contains_key(Path::new(name)) {
                symlink(workspace.path(name), tree.join(name))?;
            }
        }
        for entry in fs::read_dir(workspace.path("labs"))?.flatten() {
            if entry.file_name() != lab.name.as_str() {
                symlink(entry.path(), tree.join("labs").join(entry.file_name()))?;
            }
        }
        for (path, bytes) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs::write(path, bytes)?;
        }
        Ok(())
    };
    lay().context("cannot lay out the scratch tree target/lab/tree")?;
    Ok(tree)
}

fn add_lab<'a>(
    lab: &Lab,
    texts: impl Iterator<Item = (&'a PathBuf, &'a String)>,
    number: usize,
    files: &mut Files,
) -> Result<()> {
    let name = crate_name(lab, number);
    let dir = PathBuf::from("labs").join(&name);
    read_into(&lab.dir.join("src"), &dir.join("src"), files)?;
    for (path, text) in texts {
        files.insert(dir.join(path), text.clone().into_bytes());
    }
    let manifest = fs::read_to_string(lab.dir.join("Cargo.toml"))?;
    let own = format!("name = \"{}\"", lab.name);
    let manifest = manifest.replacen(&own, &format!("name = \"{name}\""), 1);
    files.insert(dir.join("Cargo.toml"), manifest.into_bytes());
    Ok(())
}

/// A package that links the lab's variants, the harness and what makes a thread repeatable.
fn add_simulation(
    workspace: &Workspace,
    lab: &Lab,
    variants: usize,
    files: &mut Files,
) -> Result<()> {
    let root = fs::read_to_string(workspace.path("Cargo.toml"))?;
    let mut root: toml::Table = toml::from_str(&root).context("Cargo.toml")?;
    let members = root.get_mut("workspace").and_then(|workspace| workspace.get_mut("members"));
    let members = members.and_then(toml::Value::as_array_mut);
    members.context("Cargo.toml has no members")?.push("simulate".into());
    files.insert("Cargo.toml".into(), toml::to_string(&root)?.into_bytes());
    // Cargo adds the package to it.
    files.insert("Cargo.lock".into(), fs::read(workspace.path("Cargo.lock"))?);
    let crates: Vec<_> = (0..variants).map(|number| crate_name(lab, number)).collect();
    let line = |name: &String| format!("{name}.path = \"../labs/{name}\"\n");
    let package = format!(
        "[package]\nname = \"simulate-{}\"\nedition.workspace = true\n\n[dependencies]\n\
         determinism.workspace = true\nharness.workspace = true\n{}",
        lab.name,
        crates.iter().map(line).collect::<String>()
    );
    let node = |name: &String| format!("        lab({}::node),\n", name.replace('-', "_"));
    let main = format!(
        "use harness::simulation::{{lab, main as simulate}};\n\n\
         fn main() -> std::process::ExitCode {{\n    let variants = vec![\n{}    ];\n    \
         simulate(variants, {}::BUILD, determinism::enter)\n}}\n",
        crates.iter().map(node).collect::<String>(),
        lab.name
    );
    files.insert("simulate/Cargo.toml".into(), package.into_bytes());
    files.insert("simulate/src/main.rs".into(), main.into_bytes());
    Ok(())
}
