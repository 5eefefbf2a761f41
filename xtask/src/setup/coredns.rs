//! CoreDNS, which answers in a pod of the lab: built by Go from its module. Only its suite needs it;
//! where it cannot be built, that suite is left out, and said to be.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build, shell};

/// What names it to its suite.
const VARIABLE: &str = "FLANNEL_TRACER_COREDNS";
/// Where its source is, in the workspace.
const SOURCE: &str = "tests/coredns";

/// The suite that needs it.
pub(crate) const SUITE: &str = "coredns";

/// Builds it, or finds that it is as its source is; what tells the suite where it is, as a word for
/// env(1).
pub(crate) fn environment() -> Result<OsString> {
    let program = build::target_folder().join("coredns");
    let mut go = shell::command("go");
    go.current_dir(shell::workspace().join(SOURCE)).env("CGO_ENABLED", "0");
    go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(&program).arg(".");
    shell::run(&mut go)?;
    super::note("coredns", "built by Go");
    let mut word = OsString::from(format!("{VARIABLE}="));
    word.push(program);
    Ok(word)
}
