//! What a lab may ask of the world: only what the `node` crate gives, or a simulation of it would
//! not be repeatable.

use std::{fs, path::Path};

use tests::root;

/// What a lab must not call, and what it is to use instead.
const FORBIDDEN: [(&str, &str); 12] = [
    ("std::time::Instant", "context.clock, or tokio::time::Instant"),
    ("SystemTime", "context.clock"),
    ("std::thread", "node::spawn"),
    ("tokio::spawn", "node::spawn"),
    ("task::spawn", "node::spawn"),
    ("spawn_blocking", "node::spawn"),
    ("JoinSet", "node::spawn"),
    ("std::net", "context.peers"),
    ("tokio::net", "context.peers"),
    ("std::fs", "context.disk"),
    ("tokio::fs", "context.disk"),
    ("process::exit", "a panic, which is reported by name"),
];

#[test]
fn labs_ask_the_world_for_nothing_past_the_node_crate() {
    let mut offences = Vec::new();
    let labs = fs::read_dir(root().join("labs")).unwrap().flatten();
    for lab in labs.filter(|lab| lab.path().join("lab.toml").is_file()) {
        let answers = root().join("tests/answers").join(lab.file_name());
        for folder in
            [lab.path().join("src"), lab.path().join(".starter"), answers.join("reference")]
        {
            // A lab's program is one line that the node crate takes over.
            look(&folder, &mut offences);
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

fn look(folder: &Path, offences: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            look(&path, offences);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for (word, instead) in FORBIDDEN.iter().filter(|(word, _)| code.contains(word)) {
                let place = format!("{}:{number}", path.display());
                offences.push(format!("{place} uses {word}: use {instead}"));
            }
        }
    }
}
