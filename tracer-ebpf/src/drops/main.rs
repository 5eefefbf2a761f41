//! The drop programs, an object of their own: whatever a kernel refuses of them, the stages load.
//!
//! Both count the packets that this node drops, by who dropped them, why, and at which device.
//! `drop_places` reads by typed loads alone, which every kernel allows; `drop_packets` also reads
//! the packets' own headers, which `lockdown=confidentiality` forbids: whose flow it was, and
//! whether a pod of this node dropped it.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(target_arch = "bpf")]
#[path = "../config.rs"]
mod config;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
mod header;
#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod place;
#[cfg(target_arch = "bpf")]
mod pods;
#[cfg(target_arch = "bpf")]
mod program;
#[cfg(target_arch = "bpf")]
mod structure;
#[cfg(target_arch = "bpf")]
mod totals;

tracer_ebpf::object!();
