//! Who changes a table: one program, for fentry and for a kprobe, on the kernel's function for
//! every rtnetlink request. It counts them by type.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(target_arch = "bpf")]
mod program;

tracer_ebpf::object!();
