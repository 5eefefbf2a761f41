//! `cargo xtask setup`: installs what is missing, leaves alone what is there, says so in a line each.

pub(crate) mod coredns;
mod ebpf;
pub(crate) mod prometheus;

use anyhow::{Context as _, Result};

use crate::packages::{self, Provider};

/// What the lab and its tests call.
pub(crate) const LAB_PROGRAMS: [Provider; 19] = [
    ("bridge", "iproute2"),
    ("conntrack", "conntrack"),
    ("dnsmasq", "dnsmasq-base"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("ip6tables", "iptables"),
    ("ip6tables-legacy", "iptables"),
    ("ip6tables-nft", "iptables"),
    ("iptables", "iptables"),
    ("iptables-legacy", "iptables"),
    ("iptables-nft", "iptables"),
    ("jq", "jq"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
];

pub(crate) fn run() -> Result<()> {
    let toolchain = ebpf::toolchain()?;
    ebpf::linker(toolchain)?;
    lab_programs()?;
    prometheus::setup()
}

/// One line of setup's account.
pub(crate) fn note(step: &str, what: &str) {
    eprintln!("setup: {step:<16} {what}");
}

fn lab_programs() -> Result<()> {
    let missing = packages::missing(&LAB_PROGRAMS);
    if missing.is_empty() {
        note("lab programs", "present");
        return Ok(());
    }
    packages::install(&missing).with_context(|| {
        format!("the lab's programs are missing; `apt-get install {}` adds them", missing.join(" "))
    })?;
    note("lab programs", &format!("installed {}", missing.join(" ")));
    Ok(())
}
