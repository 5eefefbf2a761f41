//! Lines for `ip`, `bridge`, `iptables-restore`, `nft`, or settings under /proc/sys/net, to be run
//! in one namespace. Scripts are plain data: what builds, breaks and heals a lab is computed from
//! its plan, and can be stored, shown and tested before anything runs it.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{deaf, family::Family, flanneld, netns, relay, teardown};

/// Who reads the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tool {
    /// `ip -batch -`
    Ip,
    /// `ip -6 -batch -`, for what names no address.
    Ip6,
    /// `bridge -batch -`
    Bridge,
    /// `iptables-restore --noflush`
    Iptables,
    /// `ip6tables-restore --noflush`
    Ip6tables,
    /// `nft -f -`
    Nft,
    /// `tc -batch -`
    Tc,
    /// `PATH=VALUE`, a path below /proc/sys/net.
    Sysctl,
    /// What becomes of the stand-in for flanneld, see [`crate::flanneld`].
    Flanneld,
    /// What becomes of a server that never reads, see [`crate::deaf`].
    Deaf,
    /// Orders for the relay, see [`crate::relay::order`].
    Relay,
}

/// Lines for one tool in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Who reads them.
    pub tool: Tool,
    /// Where; `None` is the machine's own namespace.
    pub namespace: Option<String>,
    /// What.
    pub lines: Vec<String>,
}

// === impl Script ===

impl Script {
    /// A script of any tool.
    pub fn new(
        tool: Tool,
        namespace: Option<&str>,
        lines: impl IntoIterator<Item = String>,
    ) -> Self {
        let namespace = namespace.map(str::to_owned);
        Self { tool, namespace, lines: lines.into_iter().collect() }
    }

    /// `ip` in a namespace.
    pub fn ip(namespace: &str, lines: impl IntoIterator<Item = String>) -> Self {
        Self::new(Tool::Ip, Some(namespace), lines)
    }

    /// `ip` in a namespace, for lines of a family that do not name an address of it.
    pub fn ip_of(family: Family, namespace: &str, lines: impl IntoIterator<Item = String>) -> Self {
        let tool = match family {
            Family::V4 => Tool::Ip,
            Family::V6 => Tool::Ip6,
        };
        Self::new(tool, Some(namespace), lines)
    }

    /// `bridge` in a namespace.
    pub fn bridge(namespace: &str, lines: impl IntoIterator<Item = String>) -> Self {
        Self::new(Tool::Bridge, Some(namespace), lines)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the tool is missing or refuses a line: with that line and what it said.
    pub fn run(&self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        // What starts a process takes the gate itself.
        let _gate = (!matches!(self.tool, Tool::Flanneld | Tool::Deaf)).then(teardown::gate);
        self.run_ungated()
    }

    /// Runs it even while the lab is being torn down.
    pub(crate) fn run_ungated(&self) -> Result<()> {
        match (&self.namespace, self.tool) {
            (None, Tool::Sysctl) => bail!("a lab does not change settings of the machine"),
            (_, Tool::Flanneld) => self.lines.iter().try_for_each(|line| flanneld::run(line)),
            (_, Tool::Deaf) => self.lines.iter().try_for_each(|line| deaf::run(line)),
            (_, Tool::Relay) => self.lines.iter().try_for_each(|line| relay::order(line)),
            (None, _) => self.execute(),
            (Some(namespace), Tool::Sysctl) => netns::run_in(namespace, || self.write_sysctls()),
            (Some(namespace), _) => netns::run_in(namespace, || self.execute()),
        }
    }

    fn write_sysctls(&self) -> Result<()> {
        for line in &self.lines {
            let (path, value) = line.split_once('=').context("a sysctl line is PATH=VALUE")?;
            fs::write(format!("/proc/sys/net/{path}"), value).with_context(|| line.clone())?;
        }
        Ok(())
    }

    fn execute(&self) -> Result<()> {
        let command = self.tool.command();
        let (program, arguments) = command.split_first().context("a tool has a program")?;
        let mut input = self.lines.join("\n");
        input.push('\n');
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}: run `cargo xtask setup`"))?;
        // A tool that stops early closes its end; what it says about it is in its standard error.
        drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().with_context(|| program.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        bail!("{}", self.complaint(&String::from_utf8_lossy(&output.stderr)))
    }

    fn complaint(&self, said: &str) -> String {
        let place = self.namespace.as_deref().unwrap_or("the machine");
        let line = failed_line(said).and_then(|number| self.lines.get(number - 1));
        let line = line.map(|line| format!(" at `{line}`")).unwrap_or_default();
        format!("{} in {place} failed{line}: {}", self.tool.command().join(" "), said.trim())
    }
}

/// Runs scripts one after the other.
///
/// # Errors
/// The first that fails; the rest does not run.
pub fn run_all(scripts: &[Script]) -> Result<()> {
    scripts.iter().try_for_each(Script::run)
}

// === impl Tool ===

impl Tool {
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Ip => &["ip", "-batch", "-"],
            Self::Ip6 => &["ip", "-6", "-batch", "-"],
            Self::Bridge => &["bridge", "-batch", "-"],
            Self::Iptables => &["iptables-restore", "--noflush"],
            Self::Ip6tables => &["ip6tables-restore", "--noflush"],
            Self::Nft => &["nft", "-f", "-"],
            Self::Tc => &["tc", "-batch", "-"],
            Self::Sysctl => &["sysctl"],
            Self::Flanneld => &["flanneld"],
            Self::Deaf => &["deaf"],
            Self::Relay => &["relay"],
        }
    }
}

/// The line number in `Command failed -:7` of iproute2.
fn failed_line(said: &str) -> Option<usize> {
    said.rsplit_once("failed -:")?.1.trim().parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_line_is_shown() {
        let script = Script::ip("fltr-n1", ["link set lo up".into(), "link set x up".into()]);
        let said = script.complaint("Cannot find device \"x\"\nCommand failed -:2\n");
        assert!(said.contains("in fltr-n1 failed at `link set x up`: Cannot find"), "{said}");
    }

    #[test]
    fn settings_of_the_machine_are_never_written() {
        let script = Script::new(Tool::Sysctl, None, ["ipv4/ip_forward=1".into()]);
        assert!(script.run().unwrap_err().to_string().contains("of the machine"));
    }

    #[test]
    fn a_complaint_without_line_number_is_still_shown() {
        let script = Script::new(Tool::Nft, None, ["bad".into()]);
        assert!(script.complaint("syntax error").ends_with("failed: syntax error"));
    }
}
