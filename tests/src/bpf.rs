//! The few words of bpf(2) that the lab speaks itself, so that what it says of the tracer's programs
//! does not come from the tracer's own libraries.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nameindex;

use crate::{matrix::Attach, netns};

/// BPF_TCX_INGRESS and BPF_TCX_EGRESS of `enum bpf_attach_type` (include/uapi/linux/bpf.h, 6.6).
pub const TCX: [u32; 2] = [46, 47];

/// BPF_PROG_QUERY of `enum bpf_cmd`.
const PROG_QUERY: i64 = 16;
/// Most programs that a hook of the lab ever has.
const PROGRAMS: usize = 16;

/// The beginning of `union bpf_attr` for BPF_PROG_QUERY.
#[repr(C)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    _pad: u32,
    unused: [u64; 4],
}

/// Every TCX program of a namespace: a line for each hook that has any, with the programs' numbers
/// in the order in which they run. A kernel without TCX has none.
///
/// # Errors
/// Without root.
pub fn tcx_programs(namespace: &str) -> Result<Vec<String>> {
    if !Attach::on_this_kernel().contains(&Attach::Tcx) {
        return Ok(Vec::new());
    }
    netns::run_in(namespace, || {
        let mut lines = Vec::new();
        for interface in &if_nameindex().context("devices")? {
            for attach_type in TCX {
                let programs = query(interface.index(), attach_type)?;
                if !programs.is_empty() {
                    let name = interface.name().to_string_lossy();
                    lines.push(format!("{name} {attach_type} {programs:?}"));
                }
            }
        }
        Ok(lines)
    })
}

/// A command of bpf(2) that makes a descriptor. `attributes` is the beginning of `union bpf_attr`
/// for it, as [`call`] has it.
///
/// # Safety
/// As [`call`], and the command must be one that makes a descriptor.
///
/// # Errors
/// When the kernel refuses.
pub unsafe fn descriptor<T>(command: i64, attributes: &mut T) -> Result<OwnedFd> {
    // SAFETY: by the contract of this function.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: the call has just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A command of bpf(2). The kernel takes what is missing of the attributes as zeros.
///
/// # Safety
/// `attributes` must be the beginning of `union bpf_attr` for the command, `repr(C)`, and every
/// address in it one of memory that outlives the call and that the kernel may use as the command
/// says.
///
/// # Errors
/// When the kernel refuses.
pub unsafe fn call<T>(command: i64, attributes: &mut T) -> Result<i32> {
    let size = size_of::<T>();
    // SAFETY: by the contract of this function; the kernel reads and writes no more of the
    // attributes than their size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("bpf command {command}"));
    }
    i32::try_from(result).context("a descriptor")
}

fn query(ifindex: u32, attach_type: u32) -> Result<Vec<u32>> {
    let mut programs = [0_u32; PROGRAMS];
    let mut attributes = Query {
        ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: PROGRAMS as u32,
        _pad: 0,
        unused: [0; 4],
    };
    // SAFETY: these are the attributes of the command, and the array outlives the call.
    unsafe { call(PROG_QUERY, &mut attributes) }.context("the programs of a hook")?;
    Ok(programs[..attributes.count as usize].to_vec())
}
