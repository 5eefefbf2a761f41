//! CoreDNS, which answers in a pod of the lab: built by Go from its module. Only its suite needs it;
//! without Go, or where the modules cannot be fetched, that suite is left out, and said to be.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::{build, shell};

/// What names it to its suite.
const VARIABLE: &str = "FLANNEL_TRACER_COREDNS";
/// Where its source is, in the workspace.
const SOURCE: &str = "tests/coredns";

/// The suite that needs it.
pub(crate) const SUITE: &str = "coredns";

/// Fetches what CoreDNS is built of; an error says why this machine cannot have it.
pub(crate) fn fetch() -> Result<()> {
    shell::run(go().args(["mod", "download"]))
}

/// Builds it, or finds that it is as its source is; what tells the suite where it is, as a word for
/// env(1).
pub(crate) fn environment() -> Result<OsString> {
    let program = build::target_folder().join("coredns");
    let flags = ["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"];
    shell::run(go().args(flags).arg(&program).arg("."))?;
    super::note("coredns", "built by Go");
    let mut word = OsString::from(format!("{VARIABLE}="));
    word.push(program);
    Ok(word)
}

fn go() -> Command {
    let mut go = shell::command("go");
    go.current_dir(shell::workspace().join(SOURCE)).env("CGO_ENABLED", "0");
    go
}
