//! This node as its processes show it: where flannel runs, and what runs Kubernetes.
//!
//! Reading /proc is thin; what it means is decided by pure functions over [`scan::View`].

mod flannel;
mod kernel_module;
mod platform;
mod scan;

use std::fs;

use crate::evidence::{Flannel, ModuleState, Platform};

/// flannel's process in this thread's network namespace. Adds to `unseen` what could not be told.
pub fn flannel(unseen: &mut Vec<String>) -> Flannel {
    let (flannel, doubt) = flannel::find(&scan::processes());
    unseen.extend(doubt);
    flannel
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
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

/// Whether this kernel has VXLAN, loaded or not. Nothing is loaded to find out.
#[must_use]
pub fn vxlan_module() -> ModuleState {
    kernel_module::state("vxlan", &kernel_release())
}
