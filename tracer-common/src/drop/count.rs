use crate::{address::Address, flow::FlowKey};

/// Slots that are looked at for a place, one behind the other.
pub const PROBES: u32 = 8;

/// Where and why the kernel drops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropKey {
    location: u64,
    reason: u32,
    ifindex: u32,
}

/// What one CPU has counted at a place, of packets of one EtherType. It is free while the place is
/// nowhere, and is never freed, so that what is in it is exact.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropSlot {
    place: DropKey,
    packets: u64,
    ethertype: [u8; 2],
    _pad: [u8; 6],
}

/// Packets of one flow at one place. The outer addresses are those of the carrier of a packet
/// that was dropped encapsulated, and unspecified for any other.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropFlowKey<A> {
    place: DropKey,
    flow: FlowKey<A>,
    outer_source: A,
    outer_destination: A,
}

/// What one CPU has counted of a flow at a place. The counter is of segments and wraps at 2^32.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropFlowValue {
    packets: u32,
    birth: u32,
}

const _: () = {
    assert!(size_of::<DropKey>() == 16);
    assert!(align_of::<DropKey>() == 8);
    assert!(size_of::<DropSlot>() == 32);
    assert!(core::mem::offset_of!(DropSlot, ethertype) == 24);
    assert!(size_of::<DropFlowKey<u32>>() == 16 + 16 + 8);
    assert!(size_of::<DropFlowKey<[u32; 4]>>() == 16 + 40 + 32);
    assert!(core::mem::offset_of!(DropFlowKey<[u32; 4]>, outer_source) == 56);
    assert!(size_of::<DropFlowValue>() == 8);
};

// === impl DropKey ===

impl DropKey {
    /// In place of a device's index: the namespace of a pod, where indices mean other devices.
    pub const POD: u32 = u32::MAX;
    const NOWHERE: Self = Self::new(0, 0, 0);

    /// A place: the address that called for the drop, the kernel's number for its reason (0
    /// without one), and the device's index (0 when the packet had none, or [`Self::POD`]).
    #[inline(always)]
    #[must_use]
    pub const fn new(location: u64, reason: u32, ifindex: u32) -> Self {
        Self { location, reason, ifindex }
    }

    /// The kernel address that the call to drop returns to.
    #[must_use]
    pub const fn location(&self) -> u64 {
        self.location
    }

    /// The running kernel's number of the reason; numbers differ between kernels.
    #[must_use]
    pub const fn reason(&self) -> u32 {
        self.reason
    }

    /// Index of the device in the namespace that counts; `None` when the packet had none, and in
    /// pods.
    #[must_use]
    pub const fn ifindex(&self) -> Option<u32> {
        match self.ifindex {
            0 | Self::POD => None,
            index => Some(index),
        }
    }

    /// Whether it is in the namespace of a pod.
    #[must_use]
    pub const fn is_in_pod(&self) -> bool {
        self.ifindex == Self::POD
    }

    /// Where the search for this place's slot begins, among `slots`, which is a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn first_slot(&self, ethertype: u16, slots: u32) -> u32 {
        // By the golden ratio, so that neighbours come far apart (Knuth, 6.4).
        const RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let words = self.location
            ^ (self.reason as u64) << 40
            ^ (self.ifindex as u64) << 20
            ^ (ethertype as u64) << 8;
        (words.wrapping_mul(RATIO) >> 40) as u32 & slots.wrapping_sub(1)
    }
}

// === impl DropSlot ===

impl DropSlot {
    /// Adds packets, if this slot is that place's, or free: then it becomes that place's. False
    /// when it is another's. `ethertype` as it lies in memory.
    #[inline(always)]
    pub fn count(&mut self, place: &DropKey, ethertype: u16, packets: u64) -> bool {
        if self.place == DropKey::NOWHERE {
            self.place = *place;
            self.ethertype = ethertype.to_ne_bytes();
        }
        if self.place != *place || u16::from_ne_bytes(self.ethertype) != ethertype {
            return false;
        }
        self.packets = self.packets.wrapping_add(packets);
        true
    }

    /// The place; `None` while the slot is free.
    #[must_use]
    pub fn place(&self) -> Option<DropKey> {
        Some(self.place).filter(|place| *place != DropKey::NOWHERE)
    }

    /// EtherType of the packets, of the outer one when they are encapsulated already.
    #[must_use]
    pub const fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }

    /// Segments; packets as the kernel held them where segments cannot be read.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }
}

// === impl DropFlowKey ===

impl<A: Address> DropFlowKey<A> {
    /// A packet that is not encapsulated.
    #[inline(always)]
    #[must_use]
    pub const fn new(place: DropKey, flow: FlowKey<A>) -> Self {
        Self { place, flow, outer_source: A::ZERO, outer_destination: A::ZERO }
    }

    /// Makes it another flow's.
    #[inline(always)]
    pub const fn set_flow(&mut self, flow: FlowKey<A>) {
        self.flow = flow;
    }

    /// Adds the addresses of the carrier, as they lie in memory.
    #[inline(always)]
    pub const fn set_outer(&mut self, source: A, destination: A) {
        self.outer_source = source;
        self.outer_destination = destination;
    }

    /// Where such packets are dropped.
    #[must_use]
    pub const fn place(&self) -> DropKey {
        self.place
    }

    /// The packet's own flow, the inner one where it is encapsulated.
    #[must_use]
    pub const fn flow(&self) -> &FlowKey<A> {
        &self.flow
    }

    /// Source and destination of the carrier as they lie in memory; `None` when there is none.
    #[inline(always)]
    #[must_use]
    pub fn outer(&self) -> Option<(A, A)> {
        let is_carried = self.outer_destination != A::ZERO;
        is_carried.then_some((self.outer_source, self.outer_destination))
    }

    /// Source and destination of the packet as the kernel dropped it.
    #[inline(always)]
    #[must_use]
    pub fn outermost(&self) -> (A, A) {
        if self.outer_destination == A::ZERO {
            (self.flow.source(), self.flow.destination())
        } else {
            (self.outer_source, self.outer_destination)
        }
    }
}

// === impl DropFlowValue ===

impl DropFlowValue {
    /// A new entry. `birth` is any number but 0; it tells this life of the entry from the next.
    #[inline(always)]
    #[must_use]
    pub const fn new(packets: u32, birth: u32) -> Self {
        Self { packets, birth }
    }

    /// Adds packets.
    #[inline(always)]
    pub const fn count(&mut self, packets: u32) {
        self.packets = self.packets.wrapping_add(packets);
    }

    /// Segments.
    #[must_use]
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// The birth number; 0 on CPUs that did not make the entry.
    #[must_use]
    pub const fn birth(&self) -> u32 {
        self.birth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_belongs_to_the_first_that_counts_in_it() {
        let place = DropKey::new(0xffff_ffff_8100_0000, 2, 3);
        let mut slot = DropSlot::default();
        assert_eq!(slot.place(), None);
        assert!(slot.count(&place, 8, 5));
        assert!(!slot.count(&DropKey::new(0xffff_ffff_8100_0001, 2, 3), 8, 1));
        assert!(!slot.count(&place, 9, 1), "another EtherType");
        assert!(slot.count(&place, 8, 2));
        assert_eq!((slot.place(), slot.ethertype(), slot.packets()), (Some(place), 0x0800, 7));
    }

    #[test]
    fn every_place_begins_within_the_slots_and_most_begin_apart() {
        let first = |n: u64| DropKey::new(0xffff_ffff_8100_0000 + n * 16, 2, 3).first_slot(8, 512);
        let slots: std::collections::BTreeSet<u32> = (0..100).map(first).collect();
        assert!(slots.iter().all(|slot| *slot < 512) && slots.len() > 80, "{}", slots.len());
        assert_eq!(DropKey::new(1, 2, 3).first_slot(8, 1), 0);
    }

    #[test]
    fn a_carried_packet_is_two_packets() {
        let flow = FlowKey::new(1, 2, 17, 3);
        let mut key = DropFlowKey::<u32>::new(DropKey::new(1, 2, DropKey::POD), flow);
        assert_eq!((key.outer(), key.outermost()), (None, (1, 2)));
        key.set_outer(8, 9);
        assert_eq!((key.outer(), key.outermost()), (Some((8, 9)), (8, 9)));
        assert!(key.place().is_in_pod() && key.place().ifindex().is_none());
    }
}
