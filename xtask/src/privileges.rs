//! Root for the steps that need it, and for nothing else.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::build::Built;
use crate::shell;

/// A program run as root: as it is when this is root, through sudo when it is not.
///
/// `why` is what needs root, in words for the one who is asked for a password.
pub(crate) fn as_root(program: impl AsRef<OsStr>, why: &str) -> Result<Command> {
    if nix::unistd::geteuid().is_root() {
        return Ok(shell::command(program));
    }
    if shell::find("sudo").is_none() {
        bail!("{why}: needs root; this is not root and there is no sudo: run this as root");
    }
    eprintln!("xtask: {why}: needs root, asking sudo");
    let mut command = shell::command("sudo");
    if !std::io::stdin().is_terminal() {
        // Nobody is there to type a password.
        command.arg("--non-interactive");
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Replaces this process by the same command, run as root with the programs that were built.
pub(crate) fn run_again_as_root(built: &Built) -> Result<ExitCode> {
    let xtask = env::current_exe().context("cannot find xtask's own binary")?;
    // Through env(1), because sudo drops the environment of its caller.
    let mut command = as_root("env", "the lab's network namespaces")?;
    command.args(built.environment()).arg(xtask).args(env::args_os().skip(1));
    Err(command.exec()).with_context(|| format!("cannot start `{}`", shell::line(&command)))
}
