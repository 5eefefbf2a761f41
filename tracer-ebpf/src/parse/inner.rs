use tracer_common::{counter::ParseError, flow::FlowKey};

use super::{
    Packet, Stop,
    ip::{Ip, SCTP, TCP, UDP, Version},
};

/// An inner packet: a flow's packet as every stage counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner<A> {
    /// Its flow. Later fragments have no ports and belong to no flow.
    pub key: FlowKey<A>,
    /// Its IP header.
    pub ip: Ip<A>,
    /// Where its IP header begins.
    pub network_at: usize,
}

/// The inner packet whose IP header begins at `at`; `None` for multicast, broadcast and link-local
/// destinations.
///
/// # Errors
/// The kinds of an outer IP and transport header; [`super::Vxlan::inner`] renames them.
#[inline(always)]
pub fn inner<A: Version, P: Packet>(packet: &P, at: usize) -> Result<Option<Inner<A>>, Stop> {
    let ip = A::read(packet, at)?;
    if !A::is_unicast(ip.destination) {
        return Ok(None);
    }
    let key = flow(packet, &ip).ok_or(ParseError::TruncatedTransport)?;
    Ok(Some(Inner { key, ip, network_at: at }))
}

/// The flow of a packet, whoever it is for; `None` when it ends inside the part of the transport
/// header that a flow is named by.
#[inline(always)]
pub fn flow<A: Version, P: Packet>(packet: &P, ip: &Ip<A>) -> Option<FlowKey<A>> {
    let ports = match ip.protocol {
        _ if ip.later_fragment => 0,
        TCP | UDP | SCTP => packet.words::<1>(ip.payload_at)?[0],
        protocol if protocol == A::ICMP => icmp(packet, ip.payload_at, A::ECHO)?,
        _ => 0,
    };
    Some(FlowKey::new(ip.source, ip.destination, ip.protocol, ports))
}

/// Type and code in place of the source port; for an echo its identifier in place of the
/// destination port.
#[inline(always)]
fn icmp<P: Packet>(packet: &P, at: usize, echo: [u8; 2]) -> Option<u32> {
    let [first, second] = packet.words::<2>(at)?.map(u32::from_be);
    let kind = (first >> 24) as u8;
    let identifier = if kind == echo[0] || kind == echo[1] { second >> 16 } else { 0 };
    Some((first & 0xffff_0000 | identifier).to_be())
}

impl<A: Version> Inner<A> {
    /// Whether forwarding it ends its life: the node answers with "time exceeded".
    #[inline(always)]
    #[must_use]
    pub const fn expires(&self) -> bool {
        self.ip.ttl <= 1
    }

    /// Bytes of all headers up to the payload of TCP or UDP, from the packet's start: what a GSO
    /// packet repeats in front of every segment.
    #[inline(always)]
    pub fn headers_end<P: Packet>(&self, packet: &P) -> usize {
        let transport = match self.ip.protocol {
            // Data offset in 32-bit words, upper four bits of byte 12.
            TCP => packet.byte(self.ip.payload_at + 12).map_or(20, |byte| (byte >> 4) as usize * 4),
            _ => 8,
        };
        self.ip.payload_at + transport
    }

    /// Segments of a packet of `length` bytes that is to be cut into such of `size` bytes, whose
    /// number nobody has written down: of its payload.
    #[inline(always)]
    pub fn segments<P: Packet>(&self, packet: &P, length: u32, size: u32) -> u32 {
        let payload = length.saturating_sub(self.headers_end(packet) as u32);
        payload.div_ceil(size).max(1)
    }

    /// The same where it may also be a train: tunnelled datagrams behind one outer header, cut
    /// whole (UDP GSO). The inner packet is that of the first then, and ends by its own length
    /// before the others. An own length of 0 says nothing ("BIG TCP").
    #[inline(always)]
    pub fn segments_of_train<P: Packet>(&self, packet: &P, length: u32, size: u32) -> u32 {
        let (at, uncounted) = A::LENGTH;
        let own = packet.half(self.network_at + at).map_or(0, u16::from_be);
        let end = self.network_at as u32 + u32::from(own) + uncounted;
        if own != 0 && end < length {
            1 + (length - end).div_ceil(size)
        } else {
            self.segments(packet, length, size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes.extend([10, 244, 1, 2, 10, 244, 2, 3]);
        bytes.extend(payload);
        bytes
    }

    fn ports(protocol: u8, payload: &[u8]) -> Result<(u16, u16), Stop> {
        let bytes = packet(protocol, payload);
        let inner = inner::<u32, _>(&&bytes[..], 0)?.expect("unicast");
        Ok((inner.key.source_port(), inner.key.destination_port()))
    }

    #[test]
    fn ports_name_a_flow_where_there_are_ports() {
        for protocol in [TCP, UDP, SCTP] {
            assert_eq!(ports(protocol, &[1, 2, 3, 4]), Ok((0x0102, 0x0304)));
            assert_eq!(ports(protocol, &[1, 2, 3]), Err(ParseError::TruncatedTransport.into()));
        }
        assert_eq!(ports(47, &[1, 2, 3, 4]), Ok((0, 0)), "GRE has none");
    }

    #[test]
    fn an_echo_is_named_by_its_identifier_and_other_icmp_is_not() {
        assert_eq!(ports(u32::ICMP, &[8, 0, 9, 9, 5, 6, 0, 1]), Ok((0x0800, 0x0506)));
        assert_eq!(ports(u32::ICMP, &[0, 0, 9, 9, 5, 6, 0, 1]), Ok((0, 0x0506)));
        assert_eq!(ports(u32::ICMP, &[3, 4, 9, 9, 5, 6, 0, 1]), Ok((0x0304, 0)));
        assert_eq!(ports(u32::ICMP, &[8, 0, 9, 9]), Err(ParseError::TruncatedTransport.into()));
    }

    #[test]
    fn a_later_fragment_has_no_ports_whatever_its_payload() {
        let mut bytes = packet(UDP, &[1, 2]);
        bytes[7] = 9;
        let fragment = inner::<u32, _>(&&bytes[..], 0).unwrap().unwrap();
        assert!(fragment.ip.later_fragment);
        assert_eq!(fragment.key.source_port(), 0);
    }

    #[test]
    fn multicast_and_broadcast_are_not_counted() {
        for first in [224, 239, 255] {
            let mut bytes = packet(UDP, &[1, 2, 3, 4]);
            bytes[16] = first;
            assert_eq!(inner::<u32, _>(&&bytes[..], 0), Ok(None));
        }
    }

    /// Outer IPv4 and UDP header, VXLAN and Ethernet header: where the inner header begins.
    const INNER_AT: usize = 50;

    /// A train of tunnelled IPv4 packets of such lengths, as a TUN device receives it.
    fn train(protocol: u8, transport: &[u8], payloads: &[usize]) -> (u32, Inner<u32>, Vec<u8>) {
        let mut bytes = vec![0; 28];
        for payload in payloads {
            let mut inner = packet(protocol, transport);
            let length = (inner.len() + payload) as u16;
            inner[2..4].copy_from_slice(&length.to_be_bytes());
            bytes.extend([0; 22]);
            bytes.extend(inner);
            bytes.resize(bytes.len() + payload, 0);
        }
        let first = inner::<u32, _>(&&bytes[..], INNER_AT).unwrap().expect("unicast");
        let datagram = 22 + 20 + transport.len() + payloads[0];
        (datagram as u32, first, bytes)
    }

    #[test]
    fn a_train_has_as_many_segments_as_datagrams() {
        let mut tcp = [0; 32];
        tcp[12] = 0x80;
        for (protocol, transport) in [(TCP, &tcp[..]), (UDP, &tcp[..8])] {
            // The second row are acknowledgements alone, the last ends in one.
            for payloads in [&[1178, 1178, 1178][..], &[0, 0, 0, 0], &[120; 64], &[1178, 1178, 0]] {
                let (size, first, bytes) = train(protocol, transport, payloads);
                let segments = first.segments_of_train(&&bytes[..], bytes.len() as u32, size);
                assert_eq!(segments as usize, payloads.len(), "{protocol}, {payloads:?}");
            }
        }
    }

    #[test]
    fn a_packet_that_is_no_train_is_cut_by_its_payload() {
        let mut tcp = [0; 32];
        tcp[12] = 0x80;
        for (payload, segments) in [(0, 1), (1, 1), (1200, 1), (1201, 2), (60_000, 50)] {
            let (_, first, mut bytes) = train(TCP, &tcp, &[payload]);
            let length = bytes.len() as u32;
            assert_eq!(first.segments_of_train(&&bytes[..], length, 1200), segments);
            // Over 64 KiB it has no length of its own.
            bytes[INNER_AT + 2..INNER_AT + 4].fill(0);
            assert_eq!(first.segments_of_train(&&bytes[..], length, 1200), segments);
        }
    }

    #[test]
    fn the_length_of_an_ipv6_header_does_not_count_itself() {
        let mut inner = vec![0; 48];
        inner[0] = 0x60;
        inner[4..8].copy_from_slice(&[0, 8, UDP, 64]);
        inner[8] = 0xfd;
        inner[24] = 0xfd;
        let bytes = [vec![0; INNER_AT], inner.clone(), vec![0; 22], inner].concat();
        let first = super::inner::<[u32; 4], _>(&&bytes[..], INNER_AT).unwrap().expect("unicast");
        let length = bytes.len() as u32;
        assert_eq!(first.segments_of_train(&&bytes[..], length, 22 + 48), 2);
        assert_eq!(first.segments_of_train(&&bytes[..], length - 70, 22 + 48), 1);
    }

    #[test]
    fn headers_end_where_the_payload_begins() {
        let mut tcp = [0; 32];
        tcp[12] = 0x80;
        for (protocol, payload, end) in [(TCP, &tcp[..], 52), (UDP, &tcp[..8], 28)] {
            let bytes = packet(protocol, payload);
            let inner = inner::<u32, _>(&&bytes[..], 0).unwrap().unwrap();
            assert_eq!(inner.headers_end(&&bytes[..]), end);
        }
    }
}
