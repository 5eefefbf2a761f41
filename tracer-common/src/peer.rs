//! Exact totals: every packet that a stage counts is added to exactly one slot of this array, so
//! that the total of a stage is the sum over all slots and costs the packet path nothing.

use crate::stage::{PEER_COUNTS, SIZED_COUNTS};

/// Slots of the array.
pub const SLOTS: u32 = 4096;
/// Flows whose remote end is no known peer.
pub const OTHER: u32 = 0;
/// Later fragments: without ports they belong to no flow.
pub const FRAGMENTS: u32 = 1;
/// Packets from pods that the node must refuse, by TTL (traceroute) or size (path MTU discovery),
/// and answer by ICMP: no loss, though the next stage never sees them.
pub const REFUSED: u32 = 2;
/// The first slot of a peer.
pub const FIRST_PEER: u32 = 3;

/// What one CPU has counted in a slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerValue {
    packets: [u64; PEER_COUNTS],
    bytes: [u64; SIZED_COUNTS],
    mac_low: u32,
    mac_high: u16,
    /// Packets until the outer Ethernet source is read again.
    outer_mac_in: u16,
    outer_mac: [u8; 6],
    _pad: u16,
}

/// Of so many packets of a peer one has its outer Ethernet source read: it seldom changes, and the
/// packet path is spared the copy.
const OUTER_MAC_EVERY: u16 = 64;

const _: () = {
    assert!(size_of::<PeerValue>() == 168);
    assert!(align_of::<PeerValue>() == 8);
    assert!(SLOTS < 1 << 15);
};

impl PeerValue {
    /// Adds packets and bytes to a counter; an index that has no bytes takes the packets only.
    #[inline(always)]
    pub fn count(&mut self, index: usize, packets: u64, bytes: u64) {
        if let Some(counter) = self.packets.get_mut(index) {
            *counter += packets;
        }
        if let Some(counter) = self.bytes.get_mut(index) {
            *counter += bytes;
        }
    }

    /// Remembers the inner Ethernet source of a packet from this peer: the first two octets and
    /// the last four, as they lie in memory.
    #[inline(always)]
    pub const fn set_vtep_mac(&mut self, high: u16, low: u32) {
        self.mac_high = high;
        self.mac_low = low;
    }

    /// The inner Ethernet source of the last packet that this CPU received from the peer; `None`
    /// when it has received none.
    #[must_use]
    pub const fn vtep_mac(&self) -> Option<[u8; 6]> {
        let ([a, b], [c, d, e, f]) = (self.mac_high.to_ne_bytes(), self.mac_low.to_ne_bytes());
        if self.mac_high == 0 && self.mac_low == 0 { None } else { Some([a, b, c, d, e, f]) }
    }

    /// Where the outer Ethernet source of a packet from this peer belongs, six octets as they lie in the
    /// frame; `None` where this packet's is not needed.
    #[inline(always)]
    pub const fn outer_mac_due(&mut self) -> Option<&mut [u8; 6]> {
        if self.outer_mac_in != 0 {
            self.outer_mac_in -= 1;
            return None;
        }
        self.outer_mac_in = OUTER_MAC_EVERY - 1;
        Some(&mut self.outer_mac)
    }

    /// The outer Ethernet source of one of the last packets that this CPU received from the peer: its
    /// node's, or a router's; `None` when it has received none by Ethernet.
    #[must_use]
    pub const fn outer_mac(&self) -> Option<[u8; 6]> {
        let [a, b, c, d, e, f] = self.outer_mac;
        if a | b | c | d | e | f == 0 { None } else { Some(self.outer_mac) }
    }

    /// Segments by index of [`crate::stage`].
    #[must_use]
    pub const fn packets(&self) -> &[u64; PEER_COUNTS] {
        &self.packets
    }

    /// Bytes by index of [`crate::stage`].
    #[must_use]
    pub const fn bytes(&self) -> &[u64; SIZED_COUNTS] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_mac_is_asked_for_by_the_first_packet_and_by_one_of_many_after() {
        let mut value = PeerValue::default();
        assert_eq!(value.outer_mac(), None);
        let due = |value: &mut PeerValue| value.outer_mac_due().is_some();
        *value.outer_mac_due().expect("the first packet") = [2, 0, 0, 0, 0, 7];
        let every = usize::from(OUTER_MAC_EVERY);
        let asked: Vec<usize> = (1..=2 * every).filter(|_| due(&mut value)).collect();
        assert_eq!(asked, [every, 2 * every]);
        assert_eq!(value.outer_mac(), Some([2, 0, 0, 0, 0, 7]));
    }
}
