//! RLIMIT_MEMLOCK: before Linux 5.11 the kernel takes the memory of maps and programs for locked
//! memory of the user (kernel/bpf/syscall.c, `bpf_map_charge_init`, 5.10; accounted to the memory
//! cgroup since 5.11).

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::minimum;
use crate::process;

/// The first kernel that does not.
const UNCHARGED: (u32, u32) = (5, 11);

/// What RLIMIT_MEMLOCK allows, bytes; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memlock {
    /// Now.
    pub(super) soft: Option<u64>,
    /// At most, without the capability SYS_RESOURCE.
    pub(super) hard: Option<u64>,
}

impl Memlock {
    /// That of this process, where the kernel applies it to eBPF.
    pub(super) fn applying() -> Option<Self> {
        if !minimum::is_before(&process::kernel_release(), UNCHARGED) {
            return None;
        }
        let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
        let limit = |limit| (limit != RLIM_INFINITY).then_some(limit);
        Some(Self { soft: limit(soft), hard: limit(hard) })
    }
}

/// Raises the limit as far as this process may, where it applies. What that does not give, the
/// kernel refuses later, and that is told then.
pub(super) fn raise() {
    let Some(Memlock { hard, .. }) = Memlock::applying() else { return };
    let all = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if let (Err(error), Some(hard)) = (all, hard) {
        tracing::debug!("RLIMIT_MEMLOCK stays at {hard} bytes at most: {error}");
        // Without a privilege, up to the hard limit.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}
