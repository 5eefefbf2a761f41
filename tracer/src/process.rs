//! This node as its processes show it: where flannel runs, and what runs Kubernetes.
//!
//! Reading /proc is thin; what it means is decided by pure functions over [`scan::View`].

mod arp;
mod cgroup;
mod flannel;
mod kernel_log;
mod kernel_module;
mod platform;
mod scan;

use nix::sys::utsname::uname;

pub use self::arp::{ArpSockets, arp_ignore};

use jiff::SignedDuration;

use self::{
    cgroup::{Memory, MemoryCgroup},
    kernel_log::KernelLog,
};
use crate::evidence::{Flannel, FlannelMemory, FlannelProcess, ModuleState, Platform};

/// The kernel tells starts since boot, and when that was is known to about this.
const SAME_START: SignedDuration = SignedDuration::from_secs(2);

/// How much of the node's processes is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// All, with their namespaces.
    Node,
    /// All, but not the namespaces of each.
    Unreadable,
    /// Those of a container.
    OwnNamespace,
}

/// Where flannel's process is looked for, and what its memory cgroup and the kernel's log say of it.
/// What needed a privilege to open stays open: `run` gives most of them up.
#[derive(Debug)]
pub struct FlannelWatch {
    log: KernelLog,
    cgroup: Option<(u32, MemoryCgroup)>,
    /// Whether the last look saw no flannel where one had been.
    was_missed: bool,
}

impl FlannelWatch {
    /// Opens the kernel's log. Adds to `unseen` when that is not allowed.
    pub fn new(unseen: &mut Vec<String>) -> Self {
        Self { log: KernelLog::open(unseen), cgroup: None, was_missed: false }
    }

    /// flannel's process in this thread's network namespace. Adds to `unseen` what could not be
    /// told.
    pub fn find(&mut self, unseen: &mut Vec<String>) -> Flannel {
        let (flannel, doubt) = flannel::find(&scan::processes());
        unseen.extend(doubt);
        self.with_memory(flannel)
    }

    /// flannel's process again, some time after it was `known`. Without the privilege to see the
    /// network namespace of others' processes, the one that was known is known again. One that is
    /// gone is known until it is missed a second time: flannel may just be starting anew.
    pub fn find_again(&mut self, known: &Flannel, unseen: &mut Vec<String>) -> Flannel {
        let view = scan::processes();
        let (found, doubt) = flannel::find(&view);
        let runs = |it: &scan::Seen| {
            Some(it.pid) == known.pid
                && it
                    .since
                    .zip(known.since)
                    .is_some_and(|(a, b)| a.duration_since(b).abs() < SAME_START)
        };
        if found.process == FlannelProcess::Unknown && view.processes.iter().any(runs) {
            self.was_missed = false;
            return self.with_memory(known.clone());
        }
        unseen.extend(doubt);
        let is_missed = found.process == FlannelProcess::None && known.pid.is_some();
        let was_missed = std::mem::replace(&mut self.was_missed, is_missed);
        if is_missed && !was_missed { known.clone() } else { self.with_memory(found) }
    }

    fn with_memory(&mut self, flannel: Flannel) -> Flannel {
        let last_kill = self.log.last_kill(flannel::is_flannels_name);
        let memory = flannel.pid.and_then(|pid| self.memory(pid)).map(|memory| {
            let kill = last_kill.as_ref().filter(|kill| memory.has_killed_in(&kill.cgroup));
            FlannelMemory {
                bytes: memory.bytes,
                limit_bytes: memory.limit,
                oom_kills: memory.kills,
                last_oom: kill.map(|kill| kill.time),
                cgroup: memory.path,
            }
        });
        Flannel { memory, last_kill, ..flannel }
    }

    fn memory(&mut self, pid: u32) -> Option<Memory> {
        if self.cgroup.as_ref().is_none_or(|(known, _)| *known != pid) {
            self.cgroup = MemoryCgroup::of(pid).map(|cgroup| (pid, cgroup));
        }
        self.cgroup.as_ref()?.1.read()
    }
}

/// What runs Kubernetes on this node.
#[must_use]
pub fn platform() -> Platform {
    platform::decide(&scan::processes(), &scan::host_files())
}

/// `NODE_NAME` from the environment, which a DaemonSet sets from `spec.nodeName`, else the host
/// name.
#[must_use]
pub fn node_name() -> String {
    let host_name = || {
        let name = nix::unistd::gethostname().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(host_name)
}

/// The kernel's release, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    uname().map_or_else(
        |_| "unknown".to_owned(),
        |names| names.release().to_string_lossy().into_owned(),
    )
}

/// How much of the node's processes this one sees.
#[must_use]
pub fn visibility() -> Visibility {
    scan::processes().visibility()
}

/// Whether this kernel has VXLAN, loaded or not. Nothing is loaded to find out.
#[must_use]
pub fn vxlan_module() -> ModuleState {
    kernel_module::state("vxlan", &kernel_release())
}
