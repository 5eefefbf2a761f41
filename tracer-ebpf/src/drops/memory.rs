//! A dropped packet's own bytes, copied by `bpf_probe_read_kernel`: the bytes that the parser runs
//! over here.

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_buf},
    macros::map,
    maps::PerCpuArray,
};
use tracer_common::drop::Field;
use tracer_ebpf::packet_by_words;

use crate::structure::Structure;

/// Bytes that hold the headers of a packet in VXLAN, of either IP version, where no header has
/// options: IPv6, UDP, VXLAN, Ethernet, IPv6 and eight bytes; rounded up.
const USUAL: usize = 40 + 8 + 8 + 14 + 40 + 8 + 2;

/// Where the first bytes of a packet are copied to: on the stack, where they would fit, the
/// verifier wants aligned reads only, which headers are not made for. Before Linux 6.1 an interrupt
/// that drops a packet too may come in between; the flow of one packet is then taken for another's.
#[map]
static COPY: PerCpuArray<[u8; USUAL]> = PerCpuArray::with_max_entries(1, 0);

/// A copy of the first bytes behind the network header of the packet's linear part. It may hold
/// what lies behind the packet, which is never looked at.
pub(crate) struct Copied {
    start: *const u8,
    length: usize,
}

impl Copied {
    /// Copies the headers of a packet; `None` when no network header was ever found.
    #[inline(always)]
    pub(crate) fn of(skb: Structure) -> Option<Self> {
        let offset = skb.load::<u16>(Field::SkbNetworkHeader);
        let tail = skb.load::<u32>(Field::SkbTail);
        let length = tail.wrapping_sub(u32::from(offset));
        // There is room before every packet: what is at offset 0 is what was there before.
        if offset == 0 || length > tail {
            return None;
        }
        let start = skb.load::<u64>(Field::SkbHead).wrapping_add(u64::from(offset));
        let copy = COPY.get_ptr_mut(0)?;
        // SAFETY: this CPU's value of an array; the program cannot be moved to another CPU.
        let bytes = unsafe { &mut *copy };
        // SAFETY: the helper takes any address.
        unsafe { bpf_probe_read_kernel_buf(start as *const u8, bytes) }.ok()?;
        Some(Self { start: bytes.as_ptr(), length: length as usize })
    }

    #[inline(always)]
    fn read<T: Copy>(&self, at: usize) -> Option<T> {
        let end = at + size_of::<T>();
        if end > self.length || end > USUAL {
            return None;
        }
        // SAFETY: the bytes lie inside the copy, by the lines above, and T is an integer or an
        // array of them, for which every pattern is a value. Headers are not aligned, and BPF does
        // not ask for it (as in packet.rs).
        Some(unsafe { core::ptr::read(self.start.wrapping_add(at).cast::<T>()) })
    }
}

packet_by_words!(Copied, false);

/// A copy of what lies at an address of the kernel; `None` when nothing does.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper takes any address and copies into a value of the type's size; every bit
    // pattern is a value of the integers and arrays of them that are read here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
