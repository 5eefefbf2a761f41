//! The flow table: one entry per inner 5-tuple and direction, all stages in it.

use crate::{
    address::Address,
    stage::{FLOW_COUNTS, leaves},
};

/// Entries of the flow table on a machine of few CPUs; every CPU adds its own values.
pub const FLOWS: u32 = 65_536;

/// A flow: the inner 5-tuple. Words hold network byte order as it lies in memory.
///
/// ICMP has no ports: its type and code stand in the source port, an echo's identifier in the
/// destination port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey<A> {
    source: A,
    destination: A,
    ports: u32,
    // A whole word: three bytes of padding would cost the packet path a call to memset.
    protocol: u32,
}

/// What one CPU has counted of a flow. Counters are segments and wrap at 2^32. flannel carries each
/// IP version in a tunnel of the same version, so the other tunnel end has an address of that kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowValue<A> {
    packets: [u32; FLOW_COUNTS],
    birth: u32,
    out: u16,
    into: u16,
    outer_remote: A,
}

const _: () = {
    assert!(size_of::<FlowKey<u32>>() == 16);
    assert!(size_of::<FlowKey<[u32; 4]>>() == 40);
    assert!(align_of::<FlowKey<[u32; 4]>>() == 4);
    assert!(core::mem::offset_of!(FlowKey<u32>, protocol) == 12);
    // 65,536 entries on 4 CPUs fit into 16 MiB together with the kernel's own bookkeeping.
    assert!(size_of::<FlowValue<u32>>() == 40);
    assert!(size_of::<FlowValue<[u32; 4]>>() == 52);
    assert!(align_of::<FlowValue<u32>>() == 4);
};

/// Which peer a flow belongs to in one direction, and what else is known of it: found once per
/// flow and CPU, then read with the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Slot in [`crate::names::PEERS`].
    pub slot: u32,
    /// The local end is a pod of this node (else the node itself or something beyond it).
    pub local_pod: bool,
}

const LOCAL_POD: u16 = 1 << 15;

impl Class {
    #[inline(always)]
    const fn encode(self) -> u16 {
        (self.slot as u16 + 1) | if self.local_pod { LOCAL_POD } else { 0 }
    }

    #[inline(always)]
    const fn decode(raw: u16) -> Option<Self> {
        match raw & !LOCAL_POD {
            0 => None,
            slot => Some(Self { slot: slot as u32 - 1, local_pod: raw & LOCAL_POD != 0 }),
        }
    }
}

impl<A: Address> FlowKey<A> {
    /// Addresses and both ports (source first) as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: A, destination: A, protocol: u8, ports: u32) -> Self {
        Self { source, destination, ports, protocol: protocol as u32 }
    }

    /// Inner source address as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> A {
        self.source
    }

    /// Inner destination address as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> A {
        self.destination
    }

    /// IP protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol as u8
    }

    /// Source port, or type and code of an ICMP message.
    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        (u32::from_be(self.ports) >> 16) as u16
    }

    /// Whether it is of UDP and DNS' port, at either end.
    #[inline(always)]
    #[must_use]
    pub const fn is_dns(&self) -> bool {
        const UDP: u32 = 17;
        const SOURCE: u32 = 0xffff_0000_u32.to_be();
        const FROM: u32 = (53_u32 << 16).to_be();
        const TO: u32 = 53_u32.to_be();
        self.protocol == UDP && (self.ports & SOURCE == FROM || self.ports & !SOURCE == TO)
    }

    /// Destination port, or identifier of an ICMP echo.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        u32::from_be(self.ports) as u16
    }
}

impl<A: Address> FlowValue<A> {
    /// A new entry. `birth` is any number but 0; it tells this life of the flow from the next.
    #[inline(always)]
    #[must_use]
    pub const fn new(birth: u32) -> Self {
        Self { packets: [0; FLOW_COUNTS], birth, out: 0, into: 0, outer_remote: A::ZERO }
    }

    /// Adds packets at a stage (an index below [`FLOW_COUNTS`]).
    #[inline(always)]
    pub fn count(&mut self, stage: usize, packets: u32) {
        if let Some(counter) = self.packets.get_mut(stage) {
            *counter = counter.wrapping_add(packets);
        }
    }

    /// Adds what `other` has counted.
    #[inline(always)]
    pub fn absorb(&mut self, other: &Self) {
        for (counter, packets) in self.packets.iter_mut().zip(other.packets) {
            *counter = counter.wrapping_add(packets);
        }
    }

    /// Remembers the other tunnel end, as it lies in the outer header.
    #[inline(always)]
    pub const fn set_outer_remote(&mut self, address: A) {
        self.outer_remote = address;
    }

    /// The class in the direction of `stage`; `None` when this CPU has not found it yet.
    #[inline(always)]
    #[must_use]
    pub const fn class(&self, stage: usize) -> Option<Class> {
        Class::decode(if leaves(stage) { self.out } else { self.into })
    }

    /// Remembers the class in the direction of `stage`.
    #[inline(always)]
    pub const fn set_class(&mut self, stage: usize, class: Class) {
        if leaves(stage) {
            self.out = class.encode();
        } else {
            self.into = class.encode();
        }
    }

    /// Segments by stage.
    #[must_use]
    pub const fn packets(&self) -> &[u32; FLOW_COUNTS] {
        &self.packets
    }

    /// The birth number; 0 on CPUs that did not make the entry.
    #[must_use]
    pub const fn birth(&self) -> u32 {
        self.birth
    }

    /// The other tunnel end as it lies in memory; `None` when this CPU has seen no outer header.
    #[must_use]
    pub fn outer_remote(&self) -> Option<A> {
        if self.outer_remote == A::ZERO { None } else { Some(self.outer_remote) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::SLOTS,
        stage::{OVERLAY_IN, POD_OUT, WIRE_OUT},
    };

    #[test]
    fn dns_is_known_by_its_port_at_either_end() {
        let key = |protocol, from: u32, to: u32| {
            FlowKey::new(1_u32, 2, protocol, (from << 16 | to).to_be()).is_dns()
        };
        assert!(key(17, 53, 4000) && key(17, 4000, 53) && key(17, 53, 53));
        assert!(!key(6, 4000, 53) && !key(17, 4000, 5353) && !key(17, 53 << 8, 4000));
    }

    #[test]
    fn a_class_is_kept_by_direction() {
        let mut value = FlowValue::<u32>::new(7);
        assert_eq!(value.class(POD_OUT), None);
        let out = Class { slot: SLOTS - 1, local_pod: true };
        value.set_class(POD_OUT, out);
        assert_eq!(value.class(WIRE_OUT), Some(out));
        assert_eq!(value.class(OVERLAY_IN), None);
        let into = Class { slot: 0, local_pod: false };
        value.set_class(OVERLAY_IN, into);
        assert_eq!((value.class(POD_OUT), value.class(OVERLAY_IN)), (Some(out), Some(into)));
    }

    #[test]
    fn counters_wrap_and_an_index_beyond_them_is_ignored() {
        let mut value = FlowValue::<u32>::new(1);
        value.count(POD_OUT, u32::MAX);
        value.count(POD_OUT, 3);
        value.count(FLOW_COUNTS, 9);
        assert_eq!(value.packets(), &[2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_another_has_counted_is_added_and_nothing_else_is_taken() {
        let mut value = FlowValue::<u32>::new(1);
        value.count(WIRE_OUT, u32::MAX);
        let mut other = FlowValue::<u32>::new(2);
        other.count(WIRE_OUT, 3);
        other.count(OVERLAY_IN, 5);
        value.absorb(&other);
        assert_eq!(value.packets()[WIRE_OUT], 2);
        assert_eq!(value.packets()[OVERLAY_IN], 5);
        assert_eq!(value.birth(), 1);
    }
}
