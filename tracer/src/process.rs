//! This node as its processes show it: where flannel runs, and what runs Kubernetes.
//!
//! Reading /proc is thin; what it means is decided by pure functions over [`scan::View`].

mod flannel;
mod kernel_module;
mod platform;
mod scan;

use nix::sys::utsname::uname;

use jiff::SignedDuration;

use crate::evidence::{Flannel, FlannelProcess, ModuleState, Platform};

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

/// flannel's process in this thread's network namespace. Adds to `unseen` what could not be told.
pub fn flannel(unseen: &mut Vec<String>) -> Flannel {
    let (flannel, doubt) = flannel::find(&scan::processes());
    unseen.extend(doubt);
    flannel
}

/// flannel's process again, some time after it was `known`. Without the privilege to see the
/// network namespace of others' processes, the one that was known is known again.
pub fn flannel_again(known: &Flannel, unseen: &mut Vec<String>) -> Flannel {
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
        return known.clone();
    }
    unseen.extend(doubt);
    found
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
