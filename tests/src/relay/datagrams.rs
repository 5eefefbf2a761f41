//! UDP datagrams of one flow joined into one packet of many segments, with the virtio header that
//! says so. Pure.
//!
//! ```text
//!   virtio  IP  UDP  payload      of one datagram
//!   virtio  IP  UDP  payload payload payload      of three; the last may be shorter
//! ```

use super::checksum::{NEEDS_CHECKSUM, sum};
use crate::tun::{LONGEST, VIRTIO};

/// Most datagrams of a train: a socket sends no more at a time before Linux 6.9 (UDP_MAX_SEGMENTS,
/// include/linux/udp.h).
const MOST: usize = 64;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// Of the checksum in the UDP header.
const CHECKSUM: usize = 6;
/// VIRTIO_NET_HDR_GSO_UDP_L4 (include/uapi/linux/virtio_net.h).
const GSO_UDP_L4: u8 = 5;

/// Datagrams on their way to one device.
#[derive(Debug, Default)]
pub(super) struct Train {
    /// The first packet behind its virtio header, and the payloads of those that were joined.
    bytes: Vec<u8>,
    /// What those have in common that may be joined; without it none may.
    coupling: Option<Coupling>,
    /// How many there are.
    count: usize,
}

/// What joins two datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Coupling {
    /// Where the UDP header begins, from the packet's start.
    transport: usize,
    /// The IP header but for length, number and checksum, and the ports.
    same: Vec<u8>,
    /// Bytes of payload.
    size: usize,
}

// === impl Train ===

impl Train {
    /// Begins with a packet as a TUN device gave it.
    pub(super) fn start(&mut self, packet: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(packet);
        self.coupling = Coupling::of(packet);
        self.count = 1;
    }

    /// Adds a packet, if it is the next datagram of the same flow and there is room.
    pub(super) fn join(&mut self, packet: &[u8]) -> bool {
        let (Some(ours), Some(its)) = (&self.coupling, Coupling::of(packet)) else { return false };
        let fits = self.count < MOST && self.bytes.len() + its.size <= LONGEST;
        if self.count == 0 || !fits || its.same != ours.same || its.size > ours.size {
            return false;
        }
        self.bytes.extend_from_slice(&packet[packet.len() - its.size..]);
        self.count += 1;
        if its.size < ours.size {
            // Only the last one may be shorter.
            self.couple_no_more();
        }
        true
    }

    /// The packet to write, once.
    pub(super) fn take(&mut self) -> Option<&[u8]> {
        if self.count == 0 {
            return None;
        }
        if self.count > 1
            && let Some(coupling) = self.coupling.take()
        {
            describe(&mut self.bytes, &coupling);
        }
        self.count = 0;
        Some(&self.bytes)
    }

    fn couple_no_more(&mut self) {
        if let Some(coupling) = &mut self.coupling {
            coupling.same.clear();
        }
    }
}

// === impl Coupling ===

impl Coupling {
    /// `None` for what is no plain, whole UDP datagram.
    fn of(packet: &[u8]) -> Option<Self> {
        let (virtio, ip) = packet.split_at_checked(VIRTIO)?;
        let (transport, mut same) = match ip.first()? {
            0x45 => (20, v4(ip)?),
            byte if byte >> 4 == 6 => (40, v6(ip)?),
            _ => return None,
        };
        let udp = ip.get(transport..)?;
        let length = usize::from(u16::from_be_bytes(*udp.get(4..)?.first_chunk()?));
        let size = udp.len().checked_sub(UDP_HEADER).filter(|size| *size > 0)?;
        let is_whole = virtio[0] & NEEDS_CHECKSUM == 0 && virtio[1] == 0;
        if length != udp.len() || !is_whole {
            return None;
        }
        same.extend_from_slice(&udp[..4]);
        Some(Self { transport, same, size })
    }
}

/// Of a header without options, of no fragment.
fn v4(ip: &[u8]) -> Option<Vec<u8>> {
    let header = ip.first_chunk::<20>()?;
    let is_fragment = header[6] & 0x3f != 0 || header[7] != 0;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_ours = header[9] == UDP && !is_fragment && length == ip.len();
    is_ours.then(|| [&header[..2], &header[6..10], &header[12..]].concat())
}

/// Of a header without extensions.
fn v6(ip: &[u8]) -> Option<Vec<u8>> {
    let header = ip.first_chunk::<40>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let is_ours = header[6] == UDP && length + 40 == ip.len();
    is_ours.then(|| [&header[..4], &header[6..]].concat())
}

/// Writes lengths, checksums and the virtio header of a train.
fn describe(bytes: &mut [u8], coupling: &Coupling) {
    let Coupling { transport, size, .. } = *coupling;
    let (virtio, ip) = bytes.split_at_mut(VIRTIO);
    let headers = transport + UDP_HEADER;
    virtio[0] = NEEDS_CHECKSUM;
    virtio[1] = GSO_UDP_L4;
    for (field, value) in [headers, size, transport, CHECKSUM].into_iter().enumerate() {
        virtio[2 + 2 * field..][..2].copy_from_slice(&short(value).to_ne_bytes());
    }
    let datagram = short(ip.len() - transport);
    let addresses = if transport == 20 {
        let total = short(ip.len());
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[10..12].fill(0);
        let checksum = !sum(&ip[..20], 0);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        12..20
    } else {
        ip[4..6].copy_from_slice(&datagram.to_be_bytes());
        8..40
    };
    // Of the pseudo header only: the kernel adds the rest.
    let partial = sum(&ip[addresses], u32::from(UDP) + u32::from(datagram));
    ip[transport + 4..][..2].copy_from_slice(&datagram.to_be_bytes());
    ip[transport + CHECKSUM..][..2].copy_from_slice(&partial.to_be_bytes());
}

/// Every length of a packet that is not longer than [`LONGEST`] is one.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: usize = 20;
    const V6: usize = 40;

    /// A datagram of `size` bytes of payload from a port.
    fn packet(transport: usize, port: u16, size: usize) -> Vec<u8> {
        let mut ip = vec![0; transport];
        if transport == V4 {
            ip[0] = 0x45;
            ip[2..4].copy_from_slice(&short(V4 + UDP_HEADER + size).to_be_bytes());
            ip[6] = 0x40;
            ip[8..10].copy_from_slice(&[64, UDP]);
            ip[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        } else {
            ip[0] = 0x60;
            ip[4..6].copy_from_slice(&short(UDP_HEADER + size).to_be_bytes());
            ip[6..8].copy_from_slice(&[UDP, 64]);
            ip[8..40].fill(0xfd);
        }
        ip.extend(port.to_be_bytes());
        ip.extend(8472_u16.to_be_bytes());
        ip.extend(short(UDP_HEADER + size).to_be_bytes());
        ip.extend([0, 0]);
        ip.extend(vec![7; size]);
        [vec![0; VIRTIO], ip].concat()
    }

    fn train(packets: &[Vec<u8>]) -> (Vec<bool>, Vec<u8>) {
        let mut train = Train::default();
        train.start(&packets[0]);
        let joined = packets[1..].iter().map(|it| train.join(it)).collect();
        let bytes = train.take().unwrap().to_vec();
        assert_eq!(train.take(), None);
        assert!(!train.join(&packets[0]), "what has left takes nobody");
        (joined, bytes)
    }

    #[test]
    fn three_become_one_that_says_so() {
        for transport in [V4, V6] {
            let packets = [100, 100, 30].map(|size| packet(transport, 5, size));
            let (joined, bytes) = train(&packets);
            assert_eq!(joined, [true, true]);
            let headers = transport + UDP_HEADER;
            assert_eq!(bytes.len(), VIRTIO + headers + 230);
            let fields: Vec<u16> =
                bytes[2..VIRTIO].chunks(2).map(|it| u16::from_ne_bytes([it[0], it[1]])).collect();
            assert_eq!(bytes[..2], [NEEDS_CHECKSUM, GSO_UDP_L4]);
            assert_eq!(fields, [headers, 100, transport, CHECKSUM].map(short));
            let udp = &bytes[VIRTIO + transport..];
            assert_eq!(udp[4..6], short(UDP_HEADER + 230).to_be_bytes());
            assert_ne!(udp[6..8], [0, 0]);
        }
    }

    #[test]
    fn the_checksum_of_the_header_is_right_again() {
        let (_, bytes) = train(&[packet(V4, 5, 100), packet(V4, 5, 100)]);
        let header = &bytes[VIRTIO..][..V4];
        assert_eq!(sum(header, 0), 0xffff);
        assert_eq!(header[2..4], short(V4 + UDP_HEADER + 200).to_be_bytes());
    }

    #[test]
    fn one_alone_is_as_it_came() {
        for transport in [V4, V6] {
            let first = packet(transport, 5, 100);
            assert_eq!(train(std::slice::from_ref(&first)).1, first);
        }
    }

    #[test]
    fn nobody_follows_a_shorter_one_and_no_longer_one_follows() {
        let sizes = |sizes: &[usize]| {
            train(&sizes.iter().map(|size| packet(V4, 5, *size)).collect::<Vec<_>>()).0
        };
        assert_eq!(sizes(&[100, 30, 30]), [true, false]);
        assert_eq!(sizes(&[100, 101]), [false]);
    }

    #[test]
    fn only_one_flow_is_joined_and_only_whole_datagrams() {
        let first = packet(V4, 5, 100);
        let mut others = vec![packet(V4, 6, 100), packet(V6, 5, 100)];
        // Version and options, fragment, protocol; of the virtio header: kind, checksum to be made.
        for (at, value) in [(10, 0x46), (16, 0x20), (17, 1), (19, 6), (1, 1), (0, 1)] {
            let mut other = first.clone();
            other[at] = value;
            others.push(other);
        }
        for other in others {
            assert_eq!(train(&[first.clone(), other.clone()]).0, [false], "{other:?}");
            assert_eq!(train(&[other, first.clone()]).0, [false]);
        }
    }

    #[test]
    fn the_number_of_a_datagram_and_its_checksums_do_not_matter() {
        let first = packet(V4, 5, 100);
        for at in [15, 20, VIRTIO + V4 + CHECKSUM] {
            let mut other = first.clone();
            other[at] = 9;
            assert_eq!(train(&[first.clone(), other]).0, [true], "{at}");
        }
    }

    #[test]
    fn a_train_is_bounded_in_number_and_length() {
        let joined = train(&vec![packet(V4, 5, 10); MOST + 5]).0;
        assert_eq!(joined.iter().filter(|it| **it).count(), MOST - 1);
        let (_, bytes) = train(&vec![packet(V4, 5, 1400); MOST]);
        assert!(bytes.len() <= LONGEST && bytes.len() > LONGEST - 1400, "{}", bytes.len());
    }
}
