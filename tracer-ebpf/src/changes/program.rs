//! The programs. Both are for
//! `int rtnetlink_rcv_msg(struct sk_buff *, struct nlmsghdr *, struct netlink_ext_ack *)`
//! (net/core/rtnetlink.c, 5.10 to 7.2).

use core::mem::offset_of;

use aya_ebpf::{
    helpers::bpf_probe_read_kernel,
    macros::{fentry, kprobe, map},
    maps::PerCpuArray,
    programs::{FEntryContext, ProbeContext},
};
use tracer_common::change::{self, MESSAGE_TYPES};

/// Argument of the function that is the request's header.
const HEADER: usize = 1;

/// The beginning of `struct nlmsghdr` (include/uapi/linux/netlink.h).
#[repr(C)]
struct Header {
    length: u32,
    message_type: u16,
}

#[map]
static REQUESTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(MESSAGE_TYPES, 0);

/// Reads by a typed load, which lockdown allows.
#[fentry(function = "rtnetlink_rcv_msg")]
fn request_fentry(context: FEntryContext) -> i32 {
    let header: *const Header = context.arg(HEADER);
    // SAFETY: the verifier knows the argument's type from BTF and lets the program read its
    // fields only; the kernel turns a fault into zeros.
    count(unsafe { (*header).message_type });
    0
}

#[kprobe]
fn request_kprobe(context: ProbeContext) -> u32 {
    let Some(header) = context.arg::<*const Header>(HEADER) else { return 0 };
    let field = header.wrapping_byte_add(offset_of!(Header, message_type)).cast::<u16>();
    // SAFETY: the helper checks every byte that it reads.
    let message_type = unsafe { bpf_probe_read_kernel(field) };
    count(message_type.unwrap_or_default());
    0
}

#[inline(always)]
fn count(message_type: u16) {
    let Some(requests) = REQUESTS.get_ptr_mut(change::slot(message_type)) else { return };
    // SAFETY: the pointer is this CPU's value, which lives as long as the program. fentry can be
    // preempted here by another request on this CPU, whose count is then lost: a lower bound.
    unsafe { *requests += 1 };
}
