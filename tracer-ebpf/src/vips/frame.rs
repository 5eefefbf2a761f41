//! An Ethernet frame at a tc hook.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

/// The number of a VLAN in a tag (VLAN_VID_MASK, include/linux/if_vlan.h).
const VLAN_NUMBER: u32 = 0xfff;

#[derive(Clone, Copy)]
pub(crate) struct Frame(pub(crate) *mut __sk_buff);

impl Frame {
    /// EtherType, network byte order.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program; so below.
        unsafe { (*self.0).protocol }
    }

    /// Index of the device.
    #[inline(always)]
    pub(crate) fn ifindex(self) -> u32 {
        // SAFETY: valid context.
        unsafe { (*self.0).ifindex }
    }

    /// Whether it is of a VLAN, and so of another device than this.
    #[inline(always)]
    pub(crate) fn has_vlan(self) -> bool {
        // SAFETY: valid context. Up to 6.0 a tag that was taken away leaves its number behind, so
        // the number alone proves nothing.
        let present = unsafe { (*self.0).vlan_present };
        // SAFETY: valid context.
        present != 0 && unsafe { (*self.0).vlan_tci } & VLAN_NUMBER != 0
    }

    /// Bytes of the frame: from its linear part, else by a copy. T is an integer or an array of them.
    #[inline(always)]
    pub(crate) fn read<T>(self, at: usize) -> Option<T> {
        // SAFETY: valid context; data and data_end bound the linear part.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        let start = data + at;
        if start + size_of::<T>() <= end {
            // SAFETY: the bytes lie inside the linear part, and every pattern is a value. BPF does
            // not ask for alignment: one load is one instruction.
            return Some(unsafe { core::ptr::read(start as *const T) });
        }
        self.copy(at)
    }

    #[inline(always)]
    fn copy<T>(self, at: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let length = size_of::<T>() as u32;
        // SAFETY: the destination is as long as the length says, and the kernel checks the offset
        // against the packet.
        let status = unsafe {
            bpf_skb_load_bytes(self.0.cast(), at as u32, value.as_mut_ptr().cast(), length)
        };
        // SAFETY: the helper has written all of it, and every pattern is a value.
        (status == 0).then(|| unsafe { value.assume_init() })
    }
}
