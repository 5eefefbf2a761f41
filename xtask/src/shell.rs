//! Running other programs: quiet on success, exact about what failed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Where the system keeps programs that a user's PATH may not name.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A program, run in the workspace's folder, without input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace()).stdin(Stdio::null());
    command
}

/// The cargo that runs this, with the toolchain that the workspace pins.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A cargo of another toolchain, untouched by the one that runs this.
pub(crate) fn cargo_of(toolchain: &str) -> Command {
    let mut command = command("rustup");
    command.args(["run", toolchain, "cargo"]).env("RUSTUP_AUTO_INSTALL", "0");
    for name in ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(name);
    }
    command
}

/// Runs it, its output to stderr; an error names the whole command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Whether it ends well; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What it prints to stdout; an error carries what it said on stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", line(command), output.status, said.trim());
    }
    String::from_utf8(output.stdout).context("its output is not UTF-8")
}

/// Where a program is, on the PATH or where the system keeps root's programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    which::which_in(program, Some(format!("{path}:{SYSTEM_PATH}")), workspace()).ok()
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_whole_command() {
        let error = run(Command::new("false").arg("--now")).expect_err("false fails");
        assert!(error.to_string().contains("`false --now`"), "{error}");
    }

    #[test]
    fn a_missing_program_is_an_error_and_not_a_success() {
        assert!(!succeeds(&mut Command::new("/no/such/program")));
        assert!(output(&mut Command::new("/no/such/program")).is_err());
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn output_is_what_the_program_printed() {
        let printed = output(command("echo").arg("one two")).expect("echo works");
        assert_eq!(printed, "one two\n");
    }
}
