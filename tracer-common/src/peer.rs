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
    /// When that was, see [`seconds`].
    outer_mac_time: u16,
}

/// Of so many packets of a peer one has its outer Ethernet source read: it seldom changes, and the
/// packet path is spared the copy.
const OUTER_MAC_EVERY: u16 = 16;
/// For how long it is known: a node may get another card, and a CPU its packets no more.
pub const OUTER_MAC_SECONDS: u16 = 20;

/// Seconds of a clock of nanoseconds; they come again after 18 hours.
const fn seconds(nanoseconds: u64) -> u16 {
    (nanoseconds / 1_000_000_000) as u16
}

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

    /// Whether the outer Ethernet source of the packet that came from this peer is to be read.
    #[inline(always)]
    pub const fn is_outer_mac_due(&mut self) -> bool {
        if self.outer_mac_in != 0 {
            self.outer_mac_in -= 1;
            return false;
        }
        self.outer_mac_in = OUTER_MAC_EVERY - 1;
        true
    }

    /// Where it belongs, six octets as they lie in the frame; `now` is the kernel's monotonic clock, in
    /// nanoseconds.
    #[inline(always)]
    pub const fn outer_mac_at(&mut self, now: u64) -> &mut [u8; 6] {
        self.outer_mac_time = seconds(now);
        &mut self.outer_mac
    }

    /// The outer Ethernet source of one of the last packets that this CPU received from the peer: its
    /// node's, or a router's. `None` when it has read none by Ethernet for [`OUTER_MAC_SECONDS`] until
    /// `now`, by the kernel's monotonic clock, in nanoseconds.
    #[must_use]
    pub const fn outer_mac(&self, now: u64) -> Option<[u8; 6]> {
        let [a, b, c, d, e, f] = self.outer_mac;
        let age = seconds(now).wrapping_sub(self.outer_mac_time);
        let is_known = a | b | c | d | e | f != 0 && age <= OUTER_MAC_SECONDS;
        if is_known { Some(self.outer_mac) } else { None }
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

    const SECOND: u64 = 1_000_000_000;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn the_outer_mac_is_read_of_the_first_packet_and_of_one_of_many_after() {
        let mut value = PeerValue::default();
        assert!(value.is_outer_mac_due());
        let every = usize::from(OUTER_MAC_EVERY);
        let due: Vec<usize> = (1..=2 * every).filter(|_| value.is_outer_mac_due()).collect();
        assert_eq!(due, [every, 2 * every]);
    }

    #[test]
    fn the_outer_mac_is_known_for_a_while() {
        let mut value = PeerValue::default();
        // Near the end of what the seconds can tell.
        let now = 65_530 * SECOND;
        assert_eq!(value.outer_mac(now), None);
        *value.outer_mac_at(now) = MAC;
        let later = |seconds: u16| now + u64::from(seconds) * SECOND;
        assert_eq!(value.outer_mac(later(OUTER_MAC_SECONDS)), Some(MAC));
        assert_eq!(value.outer_mac(later(OUTER_MAC_SECONDS + 1)), None);
    }
}
