//! Who answers for VIPs, an object of its own: whatever a kernel refuses of it, the stages load.
//!
//! Two programs, one for each side of a device on which VIPs may be, read ARP and IPv6 neighbour
//! discovery and let every packet pass.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(target_arch = "bpf")]
mod counts;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod program;

tracer_ebpf::object!();
