//! Packets by the byte, right ones to begin with.

use std::net::Ipv4Addr;

use tracer_tests::plan::Mac;

/// EtherType of IPv4.
pub(crate) const IPV4: u16 = 0x0800;
/// EtherTypes of a VLAN tag and of an outer one.
pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const QINQ: u16 = 0x88a8;
const UDP: u8 = 17;
/// Two bytes of nothing and the end of the list: an option that every host ignores.
pub(crate) const OPTIONS: [u8; 4] = [1, 1, 1, 0];
/// More fragments follow, in the word with the offset.
pub(crate) const MORE: u16 = 0x2000;

/// An IPv4 packet that is not yet made; every field may be wrong.
#[derive(Debug, Clone)]
pub(crate) struct Ip {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) identification: u16,
    /// Flags, and the offset in units of eight bytes.
    pub(crate) fragment: u16,
    /// Bytes, a multiple of four.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

// === impl Ip ===

impl Ip {
    /// A UDP datagram.
    pub(crate) fn udp(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ports: (u16, u16),
        payload: &[u8],
    ) -> Self {
        let mut datagram = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        datagram.extend(((payload.len() + 8) as u16).to_be_bytes());
        // No checksum, as VXLAN has none over IPv4 by default.
        datagram.extend([0, 0]);
        datagram.extend(payload);
        let (fragment, options) = (0, Vec::new());
        Self { source, destination, identification: 0, fragment, options, payload: datagram }
    }

    /// Its bytes, with the right lengths and checksum.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let total = (header_length + self.payload.len()) as u16;
        let mut header = vec![0x40 | (header_length / 4) as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([64, UDP, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(&self.payload);
        header
    }

    /// It in two fragments, the first with `first` bytes of payload, a multiple of eight.
    pub(crate) fn in_two(&self, first: usize) -> [Self; 2] {
        let (head, tail) = self.payload.split_at(first);
        let part = |fragment: u16, payload: &[u8]| Self {
            fragment,
            payload: payload.to_vec(),
            ..self.clone()
        };
        [part(MORE, head), part((first / 8) as u16, tail)]
    }

    /// The same with some bytes of the header written over; the checksum is wrong then.
    pub(crate) fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut packet = self.bytes();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    }
}

/// An Ethernet frame.
pub(crate) fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A VLAN tag, by its number, in front of an EtherType and its payload: the payload of a frame
/// with EtherType [`VLAN`] or [`QINQ`].
pub(crate) fn tagged(vlan: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&vlan.to_be_bytes()[..], &ethertype.to_be_bytes(), payload].concat()
}

/// VXLAN header and inner frame: the payload of a UDP datagram.
pub(crate) fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x08, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    payload.extend(frame);
    payload
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
