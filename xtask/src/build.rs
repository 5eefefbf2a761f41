//! `cargo xtask build`: the production binary, static, so that it runs on any node.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::{setup, shell};

/// Names the production binary to the lab and to the tests; set, it is used instead of a build.
pub(crate) const BINARY: &str = "FLANNEL_TRACER_BIN";
/// Flags for a program without libraries.
const STATIC: &str = "-C target-feature=+crt-static";
/// Where it is in the folder of a target.
const RELEASE: &str = "release/flannel-tracer";

/// A machine of another kind, to build for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cross {
    /// As Rust names it.
    pub(crate) triple: &'static str,
    /// What the names of its C tools begin with.
    pub(crate) gnu: &'static str,
}

/// What the lab runs.
pub(crate) struct Built {
    /// The production binary.
    pub(crate) binary: PathBuf,
}

// === impl Built ===

impl Built {
    /// `NAME=VALUE`, as env(1) takes it.
    pub(crate) fn environment(&self) -> [OsString; 1] {
        let mut binary = OsString::from(BINARY);
        binary.push("=");
        binary.push(&self.binary);
        [binary]
    }
}

// === impl Cross ===

impl Cross {
    /// Has a cargo build static programs for it: those of this machine's libraries are of no use there.
    pub(crate) fn tell<'a>(&self, cargo: &'a mut Command) -> &'a mut Command {
        let linker = self.triple.to_uppercase().replace('-', "_");
        cargo
            .args(["--target", self.triple])
            .env(format!("CARGO_TARGET_{linker}_LINKER"), format!("{}-gcc", self.gnu))
            .env("RUSTFLAGS", STATIC)
    }

    /// Has rustup bring its standard library.
    pub(crate) fn set_up(&self) -> Result<()> {
        let add = ["target", "add", self.triple];
        shell::run(shell::command("rustup").args(add)).with_context(|| {
            format!("there is no Rust for {}; `rustup target add` brings it", self.triple)
        })
    }
}

pub(crate) fn run() -> Result<ExitCode> {
    setup::run()?;
    let binary = production()?.binary;
    let bytes = fs::metadata(&binary).context("the binary was built and is gone")?.len();
    println!("{} ({:.1} MiB)", binary.display(), bytes as f64 / f64::from(1 << 20));
    Ok(ExitCode::SUCCESS)
}

/// Whether the environment already names a production binary.
pub(crate) fn is_announced() -> bool {
    env::var_os(BINARY).is_some()
}

/// Builds the production binary and the lab's agent, or takes the binary the environment names.
pub(crate) fn production() -> Result<Built> {
    shell::run(shell::cargo().args(["build", "-p", "tracer-tests", "--bin", "lab-agent"]))?;
    if let Some(binary) = env::var_os(BINARY) {
        return Ok(Built { binary: binary.into() });
    }
    let target = host_target()?;
    // Naming the target keeps the flags from the build scripts and procedural macros.
    let mut cargo = release();
    static_release(cargo.args(["--target", &target]).env("RUSTFLAGS", STATIC))?;
    place(&target_folder().join(target).join(RELEASE)).map(|binary| Built { binary })
}

/// Builds the production binary and the lab's agent for another machine, whatever the environment
/// names.
pub(crate) fn production_for(cross: &Cross) -> Result<Built> {
    let mut agent = shell::cargo();
    agent.args(["build", "-p", "tracer-tests", "--bin", "lab-agent"]);
    shell::run(cross.tell(&mut agent))?;
    static_release(cross.tell(&mut release()))?;
    Ok(Built { binary: target_folder().join(cross.triple).join(RELEASE) })
}

/// A cargo that is to build the production binary.
fn release() -> Command {
    let mut cargo = shell::cargo();
    cargo.args(["rustc", "--release", "-p", "tracer", "--bin", "flannel-tracer"]);
    cargo
}

/// Has it built, a static program.
fn static_release(cargo: &mut Command) -> Result<()> {
    // It is copied to nodes in trouble: a seventh of the size, and backtraces keep their names.
    let stripped = ["--", "-C", "strip=debuginfo"];
    shell::run(cargo.args(stripped).env("FLANNEL_TRACER_COMMIT", commit()))
}

/// The commit that is built, for `build_info`.
pub(crate) fn commit() -> String {
    shell::output(shell::command("git").args(["rev-parse", "--short=12", "HEAD"]))
        .map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned())
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    // Both are relative to the workspace: that is where cargo is run.
    let folder = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    shell::workspace().join(folder)
}

/// Puts the binary where a plain `cargo build --release` would have left it.
fn place(built: &Path) -> Result<PathBuf> {
    let folder = target_folder();
    let placed = folder.join("release/flannel-tracer");
    fs::create_dir_all(folder.join("release")).context("cannot create the release folder")?;
    // A running tracer keeps the old file: writing into it is refused, replacing it is not.
    let fresh = placed.with_extension("new");
    fs::copy(built, &fresh).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&fresh, &placed).with_context(|| format!("cannot write {}", placed.display()))?;
    Ok(placed)
}

/// The triple of this machine, as rustc names it.
fn host_target() -> Result<String> {
    let version = shell::output(shell::command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}
