//! The packet parser of flannel-tracer: pure functions over bytes, the same code in the kernel
//! and on the host, where it is unit-tested and property-tested.

#![cfg_attr(target_arch = "bpf", no_std)]

pub mod parse;
