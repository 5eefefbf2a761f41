//! Exact totals by peer, and which peer an address belongs to.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{LpmTrie, PerCpuArray, lpm_trie::Key},
};
use tracer_common::{
    address::Address,
    flow::Class,
    peer::{OTHER, PeerValue, SLOTS},
    stage::{HOST, OVERLAY_IN, OVERLAY_OUT, TO_POD, WIRE_IN, large_at},
};

use crate::packet::Skb;

#[map]
static PEERS: PerCpuArray<PeerValue> = PerCpuArray::with_max_entries(SLOTS, 0);

#[map]
static PEER_SLOTS4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(SLOTS, BPF_F_NO_PREALLOC);

#[map]
static PEER_SLOTS6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(SLOTS, BPF_F_NO_PREALLOC);

/// An IP version whose pod CIDRs have slots.
pub(crate) trait Slotted: Address + 'static {
    fn slots() -> &'static LpmTrie<Self, u32>;
}

impl Slotted for u32 {
    #[inline(always)]
    fn slots() -> &'static LpmTrie<Self, Self> {
        &PEER_SLOTS4
    }
}

impl Slotted for [u32; 4] {
    #[inline(always)]
    fn slots() -> &'static LpmTrie<Self, u32> {
        &PEER_SLOTS6
    }
}

/// Slot of the peer whose pod CIDR holds `address`.
#[inline(always)]
pub(crate) fn slot_of<A: Slotted>(address: A) -> u32 {
    A::slots().get(Key::new(A::BITS, address)).copied().unwrap_or(OTHER)
}

/// Counts a packet at a stage in a slot that is not a flow's.
#[inline(always)]
pub(crate) fn count_slot(slot: u32, stage: usize, packets: u32, bytes: u32) {
    if let Some(value) = PEERS.get_ptr_mut(slot) {
        // SAFETY: this CPU's value, and nothing else on this CPU touches it while we run.
        unsafe { &mut *value }.count(stage, u64::from(packets), u64::from(bytes));
    }
}

/// What is counted of a flow's packet.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// Segments.
    pub(crate) packets: u32,
    /// Of all of them.
    pub(crate) bytes: u32,
    /// Bytes of the largest, see [`Skb::largest`].
    pub(crate) largest: u32,
    /// False when the node must not pass it on.
    pub(crate) forwardable: bool,
    /// The VTEP MAC that it came from, at the stage that sees one.
    pub(crate) mac: (u16, u32),
    /// The Ethernet frame that it came in, at the same.
    pub(crate) frame: Option<Skb>,
}

/// Counts a flow's packet at a stage.
#[inline(always)]
pub(crate) fn count(class: Class, stage: usize, seen: Seen) {
    let Some(value) = PEERS.get_ptr_mut(class.slot) else { return };
    // SAFETY: this CPU's value, and nothing else on this CPU touches it while we run.
    let value = unsafe { &mut *value };
    let (packets, bytes) = (u64::from(seen.packets), u64::from(seen.bytes));
    value.count(stage, packets, bytes);
    // What others send by this node the peer knows under another slot.
    if let Some((index, least)) = large_at(stage)
        && (stage == WIRE_IN || class.local_pod)
        && seen.largest > least
    {
        value.count(index, packets, bytes);
    }
    if stage == WIRE_IN {
        let (mac_high, mac_low) = seen.mac;
        value.set_vtep_mac(mac_high, mac_low);
        if let Some(frame) = seen.frame
            && value.is_outer_mac_due()
        {
            // SAFETY: the helper takes no arguments.
            let now = unsafe { bpf_ktime_get_ns() };
            frame.source_mac(value.outer_mac_at(now));
        }
    }
    if stage == OVERLAY_OUT && !class.local_pod {
        value.count(HOST, packets, bytes);
    }
    if stage == OVERLAY_IN && class.local_pod && seen.forwardable {
        value.count(TO_POD, packets, bytes);
    }
}
