//! Two variants share one target folder: whichever was asked for is the one that runs.

use std::{
    env, fs,
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use harness::{build, cluster::warden::Warden, lab::Lab, variant::Variant, workspace::Workspace};
use object::{Object, ObjectSymbol};
use tempfile::TempDir;
use tests::{root, submission, turn};

/// A submission that holds `mark`, with files older than any build.
fn marked(mark: &str) -> TempDir {
    let folder = submission("guard.rs", |text| {
        let line = format!("    tracing::info!(\"{mark}\");\n    // GAP 6");
        text.replace("    // GAP 6", &line)
    });
    for entry in fs::read_dir(folder.path()).unwrap().flatten() {
        let old = SystemTime::now() - Duration::from_secs(365 * 24 * 3600);
        File::options().write(true).open(entry.path()).unwrap().set_modified(old).unwrap();
    }
    folder
}

fn build(lab: &Lab, workspace: &Workspace, folder: &TempDir) -> Vec<u8> {
    let variant = Variant::Folder(folder.path().to_owned());
    let Ok(program) =
        build::build(workspace, lab, &variant, build::Kind::Node, &Warden::start().unwrap())
    else {
        panic!("it builds")
    };
    let bytes = fs::read(&program.path).unwrap();
    // The next build of these sources shall not find it.
    fs::remove_dir_all(Path::new(&program.path).parent().unwrap()).unwrap();
    bytes
}

#[test]
fn an_older_variant_built_after_a_newer_one_is_the_one_that_runs() {
    let _turn = turn();
    env::set_current_dir(root()).unwrap();
    let workspace = Workspace::find().unwrap();
    let lab = Lab::load(&workspace, "lock").unwrap();
    let (one, other) = (marked("marked as the one"), marked("marked as the other"));
    let holds = |program: &[u8], mark: &str| {
        program.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    for (folder, own, foreign) in [
        (&one, "marked as the one", "marked as the other"),
        (&other, "marked as the other", "marked as the one"),
        (&one, "marked as the one", "marked as the other"),
    ] {
        let program = build(&lab, &workspace, folder);
        assert!(holds(&program, own) && !holds(&program, foreign), "{own}");
    }
}

/// The overrides belong into simulations only: in a node or the grader they would replace the clock
/// that verdicts rest on.
#[test]
fn only_simulations_define_a_clock_of_their_own() {
    let _turn = turn();
    env::set_current_dir(root()).unwrap();
    let workspace = Workspace::find().unwrap();
    let lab = Lab::load(&workspace, "lock").unwrap();
    let warden = Warden::start().unwrap();
    let built = |kind| match build::build(&workspace, &lab, &Variant::Starter, kind, &warden) {
        Ok(program) => defines_a_clock(&program.path),
        Err(_) => panic!("the starter does not build"),
    };
    assert!(!defines_a_clock(tests::program()));
    assert!(!built(build::Kind::Node));
    assert!(built(build::Kind::SlowSimulation));
}

fn defines_a_clock(program: &Path) -> bool {
    let bytes = fs::read(program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mut symbols = file.symbols();
    symbols.any(|symbol| symbol.is_definition() && symbol.name() == Ok("clock_gettime"))
}
