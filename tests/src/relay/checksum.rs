//! The checksum that a device leaves to whoever carries its packets on. Pure.

use crate::tun::VIRTIO;

/// VIRTIO_NET_HDR_F_NEEDS_CSUM (include/uapi/linux/virtio_net.h).
pub(super) const NEEDS_CHECKSUM: u8 = 1;

/// Makes the checksum that the virtio header asks for, unless the packet is still to be cut into
/// segments: of a tunnelled packet it is the inner one's.
pub(super) fn complete(packet: &mut [u8]) {
    let Some((virtio, packet)) = packet.split_at_mut_checked(VIRTIO) else { return };
    if virtio[0] & NEEDS_CHECKSUM == 0 || virtio[1] != 0 {
        return;
    }
    let field = |at: usize| usize::from(u16::from_ne_bytes([virtio[at], virtio[at + 1]]));
    let (start, offset) = (field(6), field(8));
    let Some(summed) = packet.get_mut(start..) else { return };
    let made = match !sum(summed, 0) {
        // A UDP checksum of 0 is none.
        0 => 0xffff,
        made => made,
    };
    if let Some(place) = summed.get_mut(offset..).and_then(|it| it.first_chunk_mut()) {
        *place = made.to_be_bytes();
        virtio[0] &= !NEEDS_CHECKSUM;
    }
}

/// The sum of RFC 1071, not complemented.
pub(crate) fn sum(bytes: &[u8], start: u32) -> u16 {
    let word = |it: &[u8]| u32::from(it[0]) << 8 | it.get(1).map_or(0, |byte| u32::from(*byte));
    let mut sum = bytes.chunks(2).map(word).sum::<u32>() + start;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet whose checksum at 6 behind `start` is to be made, with its pseudo header's there.
    fn packet(start: u16) -> Vec<u8> {
        let mut virtio = vec![NEEDS_CHECKSUM, 0, 0, 0, 0, 0];
        virtio.extend(start.to_ne_bytes());
        virtio.extend(6_u16.to_ne_bytes());
        [virtio, vec![9; usize::from(start)], vec![1, 2, 3, 4, 5, 6, 7, 8, 9]].concat()
    }

    #[test]
    fn the_checksum_is_made_where_it_is_asked_for_and_once() {
        let mut bytes = packet(20);
        complete(&mut bytes);
        assert_eq!(bytes[0], 0);
        // 0102 + 0304 + 0506 + 0708 + 0900 = 1914, complemented.
        assert_eq!(bytes[VIRTIO + 26..][..2], [0xe6, 0xeb]);
        let made = bytes.clone();
        complete(&mut bytes);
        assert_eq!(bytes, made);
    }

    #[test]
    fn a_packet_that_is_still_to_be_cut_and_nonsense_stay_as_they_are() {
        let mut cut = packet(20);
        cut[1] = 1;
        for mut bytes in [cut, packet(20)[..VIRTIO + 27].to_vec(), packet(20)[..VIRTIO].to_vec()] {
            let before = bytes.clone();
            complete(&mut bytes);
            assert_eq!(bytes, before);
        }
    }
}
