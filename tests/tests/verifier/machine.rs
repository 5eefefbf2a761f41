use std::fs;

use anyhow::{Context as _, Result};
use nix::sys::{
    resource::{RLIM_INFINITY, Resource, setrlimit},
    utsname::uname,
};

/// The kernel that this runs on.
#[derive(Debug)]
pub(crate) struct Machine {
    /// As `uname -r` has it.
    pub(crate) release: String,
    /// Whether it keeps its memory from root (kernel_lockdown(7), confidentiality).
    pub(crate) is_locked_down: bool,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn this() -> Result<Self> {
        let names = uname().context("uname")?;
        let release = names.release().to_string_lossy().into_owned();
        // No file where securityfs is not mounted, as in a guest, or the kernel knows no lockdown.
        let now = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        let asked = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
        let is_asked = asked.split_whitespace().any(|word| word == "lockdown=confidentiality");
        Ok(Self { release, is_locked_down: now.contains("[confidentiality]") || is_asked })
    }
}

/// Before 5.11 maps and programs count as locked memory, of which a process may have little.
pub(crate) fn raise_locked_memory() {
    // Newer kernels do without, and where it matters the refusal of a map tells.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}
