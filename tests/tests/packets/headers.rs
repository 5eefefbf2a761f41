//! Right packets of both IP versions, by the byte.

use std::net::IpAddr;

use tracer_tests::plan::{Family, Mac};

use crate::craft::{IPV4, MORE, checksum, ethernet};

const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;

/// Flags of a TCP segment (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcp(u8);

impl Tcp {
    pub(crate) const OPENING: Self = Self(0x02);
    pub(crate) const ANSWER: Self = Self(0x12);
    pub(crate) const REFUSAL: Self = Self(0x14);
}

/// An Ethernet frame.
pub(crate) fn frame(to: Mac, from: Mac, family: Family, packet: &[u8]) -> Vec<u8> {
    ethernet(to, from, if family == Family::V4 { IPV4 } else { IPV6 }, packet)
}

/// An IP packet without options.
pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let mut header = match source {
        IpAddr::V4(_) => {
            let [high, low] = (20 + length).to_be_bytes();
            vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0]
        }
        IpAddr::V6(_) => {
            let [high, low] = length.to_be_bytes();
            vec![0x60, 0, 0, 0, high, low, protocol, 64]
        }
    };
    header.extend(octets(source));
    header.extend(octets(destination));
    if source.is_ipv4() {
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    header.extend(payload);
    header
}

/// A UDP datagram in its IP packet.
pub(crate) fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let header = [from.1, to.1, length, 0].map(u16::to_be_bytes).concat();
    checked((from.0, to.0), UDP, [header, payload.to_vec()].concat(), 6)
}

/// A TCP segment without payload, in its IP packet.
pub(crate) fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), flags: Tcp, number: u32) -> Vec<u8> {
    let mut segment = [from.1, to.1].map(u16::to_be_bytes).concat();
    segment.extend(number.to_be_bytes());
    segment.extend([0, 0, 0, 7, 0x50, flags.0, 0xff, 0xff, 0, 0, 0, 0]);
    checked((from.0, to.0), TCP, segment, 16)
}

/// An ICMP message of either version that quotes a packet.
pub(crate) fn icmp(
    from: IpAddr,
    to: IpAddr,
    (kind, code): (u8, u8),
    mtu: u16,
    quoted: &[u8],
) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    let mut message = vec![kind, code, 0, 0, 0, 0, high, low];
    message.extend(quoted);
    if from.is_ipv6() {
        return checked((from, to), ICMPV6, message, 2);
    }
    let sum = checksum(&even(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, 1, &message)
}

/// A VXLAN header by its words, and an inner frame.
pub(crate) fn tunnelled(header: [u32; 2], frame: &[u8]) -> Vec<u8> {
    [header.map(u32::to_be_bytes).concat(), frame.to_vec()].concat()
}

/// A frame that claims an address: a broadcast answer by ARP, or a neighbour advertisement.
pub(crate) fn claim(to: Mac, from: Mac, address: IpAddr) -> Vec<u8> {
    if address.is_ipv4() {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2];
        packet.extend(from.0);
        packet.extend(octets(address));
        packet.extend([0; 6]);
        packet.extend(octets(address));
        return ethernet(to, NOBODY, ARP, &packet);
    }
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(octets(address));
    message.extend([2, 1]);
    message.extend(from.0);
    let all_nodes = "ff02::1".parse().expect("an address");
    frame(to, NOBODY, Family::V6, &checked((address, all_nodes), ICMPV6, message, 2))
}

/// Who sends claims of others.
const NOBODY: Mac = Mac([2, 0, 0, 0, 0, 0x97]);

/// An IP packet in two fragments, the first with so many bytes of payload, a multiple of eight.
pub(crate) fn in_two(family: Family, packet: &[u8], first: usize) -> [Vec<u8>; 2] {
    let header = if family == Family::V4 { 20 } else { 40 };
    let (head, tail) = packet[header..].split_at(first);
    [(0, head), (first, tail)].map(|(offset, payload)| {
        let is_first = offset == 0;
        if family == Family::V4 {
            let word = if is_first { MORE } else { (offset / 8) as u16 };
            let mut part = [&packet[..header], payload].concat();
            part[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
            part[6..8].copy_from_slice(&word.to_be_bytes());
            return part;
        }
        let word = offset as u16 | u16::from(is_first);
        let mut part = packet[..header].to_vec();
        part[4..6].copy_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        part[6] = FRAGMENT;
        part.extend([UDP, 0]);
        part.extend(word.to_be_bytes());
        part.extend([0, 0, 0, 9]);
        part.extend(payload);
        part
    })
}

/// Six octets as they are written.
pub(crate) fn mac(text: &str) -> Mac {
    let mut mac = [0; 6];
    for (byte, text) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(text, 16).expect("an octet");
    }
    Mac(mac)
}

/// A packet whose payload has a checksum over addresses and payload, at an offset.
fn checked(ends: (IpAddr, IpAddr), protocol: u8, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let addresses = [octets(ends.0), octets(ends.1)].concat();
    let pseudo = [addresses, length.to_vec(), vec![0, 0, 0, protocol]].concat();
    let sum = checksum(&even(&[pseudo, payload.clone()].concat()));
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    ip(ends.0, ends.1, protocol, &payload)
}

fn even(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
