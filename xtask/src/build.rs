//! `cargo xtask build`: the production binary, static, so that it runs on any node.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{setup, shell};

/// Names the production binary to the lab and to the tests; set, it is used instead of a build.
pub(crate) const BINARY: &str = "FLANNEL_TRACER_BIN";

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
    let built = static_release()?;
    place(&built).map(|binary| Built { binary })
}

/// Builds the production binary, a static program; where it is.
fn static_release() -> Result<PathBuf> {
    let (package, program) = ("tracer", "flannel-tracer");
    let target = host_target()?;
    shell::run(
        shell::cargo()
            .args(["rustc", "--release", "-p", package, "--bin", program])
            // Naming the target keeps the flags from the build scripts and procedural macros.
            .args(["--target", &target])
            // It is copied to nodes in trouble: a seventh of the size, and backtraces keep their names.
            .args(["--", "-C", "strip=debuginfo"])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("FLANNEL_TRACER_COMMIT", commit()),
    )?;
    Ok(target_folder().join(target).join("release").join(program))
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
