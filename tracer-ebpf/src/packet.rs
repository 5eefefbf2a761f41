//! The two kinds of bytes that the parser runs over in the kernel, and what the kernel says of a
//! packet beside its bytes.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use tracer_ebpf::{
    packet_by_words,
    parse::{Inner, Packet, Version},
};

/// PACKET_OTHERHOST: an Ethernet frame for somebody else (include/uapi/linux/if_packet.h).
const OTHERHOST: u32 = 3;
/// The segment size of SCTP's packets, which is none (include/linux/skbuff.h, Linux 6.18).
const GSO_BY_FRAGS: u32 = 0xffff;
/// Where an Ethernet header has its source.
const SOURCE_MAC: u32 = 6;
/// The number of a VLAN in a tag (VLAN_VID_MASK, include/linux/if_vlan.h).
const VLAN_NUMBER: u32 = 0xfff;

/// A packet at a tc hook.
#[derive(Clone, Copy)]
pub(crate) struct Skb(pub(crate) *mut __sk_buff);

/// Its linear part, read directly.
pub(crate) struct Linear {
    data: usize,
    data_end: usize,
}

/// The whole packet, wherever the kernel keeps it: every read is a copy of its own. Never
/// `bpf_skb_pull_data`: that would change the packet's layout for everybody after us.
pub(crate) struct Copied(Skb);

impl Skb {
    /// The context as aya has it.
    #[inline(always)]
    pub(crate) fn context(self) -> TcContext {
        TcContext::new(self.0)
    }

    /// Length of the whole packet in bytes, headers included.
    #[inline(always)]
    pub(crate) fn length(self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program; so below.
        unsafe { (*self.0).len }
    }

    /// Whether the IP stack will not take a received frame, because it is for another host, or of
    /// a VLAN: on a VLAN's own device the tag is gone, and elsewhere the kernel makes it a
    /// packet for another host after us (net/core/dev.c, __netif_receive_skb_core, Linux 6.18).
    #[inline(always)]
    pub(crate) fn is_for_another_host(self) -> bool {
        self.is_for_another_mac() || self.has_vlan()
    }

    /// Whether it came in by a device before it leaves: what the node itself sends did not
    /// (`skb_iif`, include/linux/skbuff.h).
    #[inline(always)]
    pub(crate) fn is_forwarded(self) -> bool {
        // SAFETY: valid context.
        unsafe { (*self.0).ingress_ifindex != 0 }
    }

    /// Whether it is an Ethernet frame for another MAC than the device's.
    #[inline(always)]
    pub(crate) fn is_for_another_mac(self) -> bool {
        // SAFETY: valid context.
        unsafe { (*self.0).pkt_type == OTHERHOST }
    }

    /// Index of the device.
    #[inline(always)]
    pub(crate) fn ifindex(self) -> u32 {
        // SAFETY: valid context.
        unsafe { (*self.0).ifindex }
    }

    /// Whether its metadata has a tag with the number of a VLAN; 0 is a priority only.
    #[inline(always)]
    fn has_vlan(self) -> bool {
        // SAFETY: valid context. Up to 6.0 a tag that was taken away leaves its number behind, so
        // the number alone proves nothing.
        let present = unsafe { (*self.0).vlan_present };
        // SAFETY: valid context.
        present != 0 && unsafe { (*self.0).vlan_tci } & VLAN_NUMBER != 0
    }

    /// Segments as the kernel has counted them; 1 where it has not.
    #[inline(always)]
    pub(crate) fn known_segments(self) -> u32 {
        self.gso_segments().max(1)
    }

    #[inline(always)]
    fn gso_segments(self) -> u32 {
        // SAFETY: valid context.
        unsafe { (*self.0).gso_segs }
    }

    #[inline(always)]
    fn gso_size(self) -> u32 {
        // SAFETY: valid context.
        unsafe { (*self.0).gso_size }
    }

    /// Segments that this packet stands for. virtio and TUN devices leave the count of a GSO
    /// packet at 0 (DODGY): then it is divided by the segment size. `trains` says whether it may
    /// be several tunnelled datagrams.
    #[inline(always)]
    pub(crate) fn segments<A: Version, P: Packet>(
        self,
        packet: &P,
        inner: &Inner<A>,
        trains: bool,
    ) -> u32 {
        match (self.gso_segments(), self.gso_size()) {
            (0, 0) => 1,
            (0, size) if trains => inner.segments_of_train(packet, self.length(), size),
            (0, size) => inner.segments(packet, self.length(), size),
            (segments, _) => segments,
        }
    }

    /// Inner bytes: from the inner IP header to the end; of a train with the tunnel's headers in
    /// between.
    #[inline(always)]
    pub(crate) fn inner_bytes<A>(self, inner: &Inner<A>) -> u32 {
        self.length().saturating_sub(inner.network_at as u32)
    }

    /// Bytes of the largest inner packet that it stands for: of its payload where there are several; 0
    /// where they are of different sizes, which nothing tells.
    #[inline(always)]
    pub(crate) fn largest(self, inner_bytes: u32) -> u32 {
        match self.gso_size() {
            0 => inner_bytes,
            GSO_BY_FRAGS => 0,
            size => size,
        }
    }

    /// Whether a packet of a pod is too large for the overlay device and may not be fragmented:
    /// the node answers with "fragmentation needed" (net/ipv4/ip_forward.c, ip_exceeds_mtu) or
    /// "packet too big" (net/ipv6/ip6_output.c, ip6_pkt_too_big).
    #[inline(always)]
    pub(crate) fn exceeds_mtu<A: Version, P: Packet>(
        self,
        packet: &P,
        inner: &Inner<A>,
        mtu: u16,
    ) -> bool {
        if mtu == 0 || !inner.ip.dont_fragment {
            return false;
        }
        let size = match self.gso_size() {
            0 => self.inner_bytes(inner),
            size => size + (inner.headers_end(packet) - inner.network_at) as u32,
        };
        size > u32::from(mtu)
    }

    /// Copies the source of an Ethernet frame, which is longer than that.
    #[inline(always)]
    pub(crate) fn source_mac(self, mac: &mut [u8; 6]) {
        let (at, length) = (SOURCE_MAC, mac.len() as u32);
        // SAFETY: the destination is as long as the length says, and the kernel checks the offset
        // against the packet: what it refuses it fills with zeros.
        unsafe { bpf_skb_load_bytes(self.0.cast(), at, mac.as_mut_ptr().cast(), length) };
    }

    /// The linear part.
    #[inline(always)]
    pub(crate) fn linear(self) -> Linear {
        // SAFETY: valid context; data and data_end bound the linear part.
        let data = unsafe { (*self.0).data as usize };
        // SAFETY: as above.
        let data_end = unsafe { (*self.0).data_end as usize };
        Linear { data, data_end }
    }

    /// The whole packet, read by copy.
    #[inline(always)]
    pub(crate) fn copied(self) -> Copied {
        Copied(self)
    }
}

impl Linear {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> Option<T> {
        let start = self.data + at;
        if start + size_of::<T>() > self.data_end {
            return None;
        }
        // SAFETY: the bytes lie inside the linear part, as the verifier checks by the line above,
        // and T is an integer or an array of them, for which every pattern is a value. Headers are
        // not aligned, and BPF does not ask for it: one load is one instruction, which the kernel
        // splits where its processor cannot do it. `read_unaligned` would split it here, into
        // bytes, and cost as much again as the whole parser.
        Some(unsafe { core::ptr::read(start as *const T) })
    }
}

impl Copied {
    #[inline(always)]
    fn read<T>(&self, at: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the destination is as long as the length says, and the kernel checks the offset
        // against the packet.
        let status = unsafe {
            bpf_skb_load_bytes(
                self.0.0.cast(),
                at as u32,
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
            )
        };
        // SAFETY: the helper has written all of it, and T is an integer or an array of them, for
        // which every pattern is a value.
        (status == 0).then(|| unsafe { value.assume_init() })
    }
}

packet_by_words!(Linear, false);
packet_by_words!(Copied, true);
