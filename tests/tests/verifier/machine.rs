use anyhow::{Context as _, Result};
use nix::sys::{
    resource::{RLIM_INFINITY, Resource, setrlimit},
    utsname::uname,
};
use tracer_tests::{capabilities::is_confidential, kernel::is_before};

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
        Ok(Self { release, is_locked_down: is_confidential()? })
    }

    /// Whether no kernel goes through more: older verifiers know fewer states that are alike, and
    /// of those that were measured 5.10 and 6.1 go through the same.
    pub(crate) fn is_greediest(&self) -> bool {
        is_before((6, 2))
    }
}

/// Before 5.11 maps and programs count as locked memory, of which a process may have little.
pub(crate) fn raise_locked_memory() {
    // Newer kernels do without, and where it matters the refusal of a map tells.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}
