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
    let key = key(packet, &ip).ok_or(ParseError::TruncatedTransport)?;
    Ok(Some(Inner { key, ip, network_at: at }))
}

/// The flow of a packet; `None` when it ends inside the part of the transport header that a flow
/// is named by.
#[inline(always)]
pub(super) fn key<A: Version, P: Packet>(packet: &P, ip: &Ip<A>) -> Option<FlowKey<A>> {
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
