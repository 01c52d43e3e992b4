//! The compiler, and what it is told for a program.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::Kind;

/// The flags of `.cargo/config.toml`, said again so that the environment cannot replace them.
const FLAGS: [&str; 2] = ["--cfg", "tokio_unstable"];

/// What programs behave by, said again so that the user's own profiles cannot replace it.
pub const PROFILES: [&str; 5] = [
    "profile.dev.overflow-checks=true",
    "profile.dev.panic='unwind'",
    "profile.release.panic='unwind'",
    "profile.sim.panic='unwind'",
    "profile.sim.lto=false",
];

/// How much of what it compiled the linker keeps.
const KEPT_BYTES: u64 = 1 << 30;

/// The compiler that cargo calls, for one kind of program.
pub struct Compiler {
    version: String,
    /// What optimises the program across its crates, if anything does.
    pub linker: Option<Linker>,
}

/// The linker that comes with the compiler and optimises across crates.
///
/// It keeps what it has compiled, so that an edit of a lab compiles the lab and nothing else: the
/// compiler's own `lto` would optimise all crates again, for a program that is no faster.
pub struct Linker {
    /// The machine that is compiled for, this one. When it is named, cargo spares what it builds
    /// for itself (build scripts and macros) the flags.
    pub target: String,
    folder: PathBuf,
}

impl Compiler {
    /// The compiler for programs of this `kind`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(kind: Kind) -> Result<Self> {
        let version = rustc(&["-vV"])?;
        let linker = if kind == Kind::Simulation { Linker::find(&version)? } else { None };
        Ok(Self { version, linker })
    }

    /// What a program that it compiles depends on, in words: its version and what it is told.
    pub fn identity(&self) -> String {
        let linked = if self.linker.is_some() { "optimised at the link" } else { "" };
        format!("{} {} {linked}", self.version, FLAGS.join(" "))
    }

    /// Its flags, as cargo wants them; what the linker keeps is in `kept`.
    pub fn flags(&self, kept: &Path) -> String {
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        if let Some(Linker { folder, .. }) = &self.linker {
            flags.push("-Clinker-plugin-lto".to_owned());
            flags.push(format!("-Clink-arg=-B{}", folder.display()));
            flags.push("-Clink-arg=-fuse-ld=lld".to_owned());
            let policy = format!("--thinlto-cache-policy=cache_size_bytes={KEPT_BYTES}");
            for option in [format!("--thinlto-cache-dir={}", kept.display()), policy] {
                flags.extend(["-Clink-arg=-Xlinker".to_owned(), format!("-Clink-arg={option}")]);
            }
        }
        flags.join("\x1f")
    }
}

impl Linker {
    /// The linker of the compiler of this `version`; `None` if it came without one that runs.
    fn find(version: &str) -> Result<Option<Self>> {
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let target = host.context("rustc does not name its host")?.to_owned();
        let sysroot = rustc(&["--print", "sysroot"])?;
        let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
        let folder = rustlib.join(&target).join("bin/gcc-ld");
        let version = Command::new(folder.join("ld.lld")).arg("--version").output();
        let runs = version.is_ok_and(|output| output.status.success());
        Ok(runs.then_some(Self { target, folder }))
    }
}

fn rustc(arguments: &[&str]) -> Result<String> {
    // As cargo does.
    let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).args(arguments).output().context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc {} fails", arguments.join(" "));
    String::from_utf8(output.stdout).context("rustc does not speak UTF-8")
}
