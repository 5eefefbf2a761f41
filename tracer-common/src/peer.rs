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
}

const _: () = {
    assert!(size_of::<PeerValue>() == 136);
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
