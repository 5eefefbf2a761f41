use tracer_common::{counter::ParseError, flow::FlowKey4};

use super::{
    Packet, Stop,
    ipv4::{ICMP, Ipv4, SCTP, TCP, UDP},
};

const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_ECHO: u8 = 8;

/// An inner packet: a flow's packet as every stage counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Its flow. Later fragments have no ports and belong to no flow.
    pub key: FlowKey4,
    /// Its IPv4 header.
    pub ipv4: Ipv4,
    /// Where its IPv4 header begins.
    pub network_at: usize,
}

/// The inner packet whose IPv4 header begins at `at`; `None` for multicast and broadcast.
///
/// # Errors
/// The kinds of an outer IPv4 and transport header; [`super::wire()`] renames them for inner ones.
#[inline(always)]
pub fn inner<P: Packet>(packet: &P, at: usize) -> Result<Option<Inner>, Stop> {
    let ipv4 = Ipv4::read(packet, at)?;
    if !ipv4.is_unicast() {
        return Ok(None);
    }
    let key = key(packet, &ipv4).ok_or(ParseError::TruncatedTransport)?;
    Ok(Some(Inner { key, ipv4, network_at: at }))
}

/// The flow of a packet; `None` when it ends inside the part of the transport header that a flow
/// is named by.
#[inline(always)]
pub(super) fn key<P: Packet>(packet: &P, ipv4: &Ipv4) -> Option<FlowKey4> {
    let ports = if ipv4.later_fragment {
        0
    } else {
        match ipv4.protocol {
            TCP | UDP | SCTP => packet.words::<1>(ipv4.payload_at)?[0],
            ICMP => icmp(packet, ipv4.payload_at)?,
            _ => 0,
        }
    };
    Some(FlowKey4::new(ipv4.source, ipv4.destination, ipv4.protocol, ports))
}

/// Type and code in place of the source port; for an echo its identifier in place of the
/// destination port.
#[inline(always)]
fn icmp<P: Packet>(packet: &P, at: usize) -> Option<u32> {
    let [first, second] = packet.words::<2>(at)?.map(u32::from_be);
    let identifier = match (first >> 24) as u8 {
        ICMP_ECHO | ICMP_ECHO_REPLY => second >> 16,
        _ => 0,
    };
    Some((first & 0xffff_0000 | identifier).to_be())
}

impl Inner {
    /// Whether forwarding it ends its life: the node answers with "time exceeded".
    #[inline(always)]
    #[must_use]
    pub const fn expires(&self) -> bool {
        self.ipv4.ttl <= 1
    }

    /// Bytes of all headers up to the payload of TCP or UDP, from the packet's start: what a GSO
    /// packet repeats in front of every segment.
    #[inline(always)]
    pub fn headers_end<P: Packet>(&self, packet: &P) -> usize {
        let transport = match self.ipv4.protocol {
            // Data offset in 32-bit words, upper four bits of byte 12.
            TCP => {
                packet.byte(self.ipv4.payload_at + 12).map_or(20, |byte| (byte >> 4) as usize * 4)
            }
            _ => 8,
        };
        self.ipv4.payload_at + transport
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
        let inner = inner(&&bytes[..], 0)?.expect("unicast");
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
        assert_eq!(ports(ICMP, &[8, 0, 9, 9, 5, 6, 0, 1]), Ok((0x0800, 0x0506)));
        assert_eq!(ports(ICMP, &[0, 0, 9, 9, 5, 6, 0, 1]), Ok((0, 0x0506)));
        assert_eq!(ports(ICMP, &[3, 4, 9, 9, 5, 6, 0, 1]), Ok((0x0304, 0)));
        assert_eq!(ports(ICMP, &[8, 0, 9, 9]), Err(ParseError::TruncatedTransport.into()));
    }

    #[test]
    fn a_later_fragment_has_no_ports_whatever_its_payload() {
        let mut bytes = packet(UDP, &[1, 2]);
        bytes[7] = 9;
        let fragment = inner(&&bytes[..], 0).unwrap().unwrap();
        assert!(fragment.ipv4.later_fragment);
        assert_eq!(fragment.key.source_port(), 0);
    }

    #[test]
    fn multicast_and_broadcast_are_not_counted() {
        for first in [224, 239, 255] {
            let mut bytes = packet(UDP, &[1, 2, 3, 4]);
            bytes[16] = first;
            assert_eq!(inner(&&bytes[..], 0), Ok(None));
        }
    }

    #[test]
    fn headers_end_where_the_payload_begins() {
        let mut tcp = [0; 32];
        tcp[12] = 0x80;
        for (protocol, payload, end) in [(TCP, &tcp[..], 52), (UDP, &tcp[..8], 28)] {
            let bytes = packet(protocol, payload);
            let inner = inner(&&bytes[..], 0).unwrap().unwrap();
            assert_eq!(inner.headers_end(&&bytes[..]), end);
        }
    }
}
