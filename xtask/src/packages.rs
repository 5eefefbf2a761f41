//! Programs from the distribution's packages.

use std::process::Command;

use anyhow::{Result, bail};

use crate::privileges::as_root;
use crate::shell;

/// A program, and the Debian package that brings it.
pub(crate) type Provider = (&'static str, &'static str);

/// The packages of the programs that are not there, each once.
pub(crate) fn missing(providers: &[Provider]) -> Vec<&'static str> {
    absent(providers, |program| shell::find(program).is_some())
}

fn absent(providers: &[Provider], present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = providers
        .iter()
        .filter(|(program, _)| !present(program))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Whether this distribution installs by apt.
pub(crate) fn has_apt() -> bool {
    shell::find("apt-get").is_some()
}

/// Installs packages; those already there keep their version.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !has_apt() {
        bail!(
            "these packages (Debian's names) are missing and there is no apt-get here: {}; \
             install them with this distribution's package manager",
            packages.join(" ")
        );
    }
    if packages.iter().any(|package| !is_known(package)) {
        shell::run(as_root("apt-get", "the list of packages")?.args(["update", "--quiet=2"]))?;
    }
    let unknown: Vec<_> = packages.iter().copied().filter(|package| !is_known(package)).collect();
    if !unknown.is_empty() {
        bail!("apt knows no package {} on this release of the distribution", unknown.join(", "));
    }
    shell::run(
        as_root("env", "installing packages")?
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet=2"])
            .args(["--no-install-recommends", "--no-upgrade"])
            .args(packages),
    )
}

/// Fetches the list of packages when it does not hold this one.
pub(crate) fn refresh_unless_known(package: &str) -> Result<()> {
    if is_known(package) {
        return Ok(());
    }
    shell::run(as_root("apt-get", "the list of packages")?.args(["update", "--quiet=2"]))
}

/// Whether a package is installed.
pub(crate) fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    shell::output(&mut query).is_ok_and(|status| status == "installed")
}

fn is_known(package: &str) -> bool {
    // `apt-cache show` ends well for a name that others only refer to; a candidate is a version.
    shell::output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))
        .is_ok_and(|policy| has_candidate(&policy))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_two_missing_programs_is_named_once() {
        let providers = [("ip", "iproute2"), ("nft", "nftables"), ("tc", "iproute2")];
        assert_eq!(absent(&providers, |program| program == "nft"), ["iproute2"]);
        assert!(absent(&providers, |_| true).is_empty());
    }

    #[test]
    fn only_a_package_with_a_version_is_known() {
        assert!(has_candidate("jq:\n  Installed: (none)\n  Candidate: 1.6-2\n"));
        assert!(!has_candidate("jq:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
