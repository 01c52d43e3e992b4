//! What a node's disk still has after a crash, at whatever moment that came.

use std::{fs, path::Path, time::Duration};

use node::Disk;
use proto::kv::HardState;

/// The disk as a crash leaves it at this moment.
fn crash(data_dir: &Path, copy: &Path) {
    fs::create_dir(copy).unwrap();
    for entry in fs::read_dir(data_dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_node_that_fell_while_it_started_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("n1");
    let disk = Disk::open(&data_dir, Duration::ZERO, false).unwrap();
    disk.save("hard_state", &HardState { term: 7, voted_for: String::new() }).await;
    // What sled leaves when the process is killed before its first byte, or in the middle.
    for (name, unfinished) in [("empty", &b""[..]), ("half", &[1; 40])] {
        let data_dir_again = folder.path().join(name);
        crash(&data_dir, &data_dir_again);
        fs::write(data_dir_again.join("snap.00000000000000FF.generating"), unfinished).unwrap();
        let again = Disk::open(&data_dir_again, Duration::ZERO, false).unwrap();
        assert_eq!(again.load::<HardState>("hard_state").map(|it| it.term), Some(7), "{name}");
    }
}
