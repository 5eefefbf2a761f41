//! The DNS message in a packet: which name it asks for. Names are their users' own affair, so nobody
//! reads them but on request.

use std::fmt;

use domain::base::Message;
use etherparse::ip_number;
use serde::Serialize;

use super::{Layers, Protocol, UDP, split};
use crate::export::dns::rcode;

/// The port of DNS servers.
const PORT: u16 = 53;

/// The beginning of a DNS message over UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsMessage {
    /// What tells it from the others of its port.
    pub identifier: u16,
    /// The code of an answer; `None` for a query.
    pub rcode: Option<&'static str>,
    /// The name that is asked for, what cannot be printed in it escaped; `None` where the bytes end
    /// before it does.
    pub name: Option<String>,
    /// The type of the record that is asked for.
    #[serde(rename = "type")]
    pub record: Option<String>,
}

// === impl DnsMessage ===

impl DnsMessage {
    /// Reads it from a packet whose first bytes these are, as [`super::Headers::read`] does. `None` for
    /// all other packets.
    #[must_use]
    pub fn read(bytes: &[u8], has_ethernet: bool, tunnel_ports: &[u16]) -> Option<Self> {
        let (_, inner) = split(bytes, has_ethernet, tunnel_ports);
        let (layers, payload) = inner?;
        if !is_dns(&layers) {
            return None;
        }
        let message = Message::from_octets(payload.get(UDP..)?).ok()?;
        let header = message.header();
        let question = message.question().next().and_then(Result::ok);
        Some(Self {
            identifier: header.id(),
            rcode: header.qr().then(|| rcode(header.rcode().to_int())),
            name: question.as_ref().map(|it| it.qname().to_string()),
            record: question.as_ref().map(|it| it.qtype().to_string()),
        })
    }
}

fn is_dns(layers: &Layers) -> bool {
    let ports = [layers.source_port, layers.destination_port];
    layers.protocol == Some(Protocol::Ip(ip_number::UDP.0)) && ports.contains(&Some(PORT))
}

impl fmt::Display for DnsMessage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.rcode.is_some() { "answer" } else { "query" };
        write!(out, "dns {what} {}", self.identifier)?;
        if let (Some(name), Some(record)) = (&self.name, &self.record) {
            write!(out, " {name} {record}")?;
        }
        self.rcode.map_or(Ok(()), |rcode| write!(out, " {rcode}"))
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    /// Question: an address of `www.example.org`.
    const QUESTION: &[u8] = b"\x03www\x07example\x03org\0\0\x01\0\x01";

    fn packet([from, to]: [u16; 2], flags: [u8; 2], rest: &[u8]) -> Vec<u8> {
        let message = [&[0x12, 0x34], &flags[..], &[0, 1, 0, 0, 0, 0, 0, 0], rest].concat();
        let builder = PacketBuilder::ipv4([10, 244, 1, 9], [10, 96, 0, 10], 64).udp(from, to);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &message).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Option<DnsMessage> {
        DnsMessage::read(bytes, false, &[8472])
    }

    fn text(bytes: &[u8]) -> String {
        read(bytes).unwrap().to_string()
    }

    #[test]
    fn a_query_has_its_name_and_an_answer_its_code() {
        let query = packet([4000, 53], [1, 0], QUESTION);
        assert_eq!(text(&query), "dns query 4660 www.example.org A");
        let json = serde_json::to_value(read(&query)).unwrap();
        let expected = serde_json::json!({
            "identifier": 4660, "rcode": null, "name": "www.example.org", "type": "A",
        });
        assert_eq!(json, expected);
        let answer = packet([53, 4000], [0x81, 0x83], QUESTION);
        assert_eq!(text(&answer), "dns answer 4660 www.example.org A NXDOMAIN");
    }

    #[test]
    fn a_message_in_the_tunnel_is_read_too() {
        let mut payload = vec![8, 0, 0, 0, 0, 0, 1, 0];
        payload.extend([2; 12]);
        payload.extend([8, 0]);
        payload.extend(packet([4000, 53], [1, 0], QUESTION));
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(50_000, 8472);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &payload).unwrap();
        assert_eq!(text(&bytes), "dns query 4660 www.example.org A");
        assert_eq!(DnsMessage::read(&bytes, false, &[]), None, "a datagram to no port of a tunnel");
    }

    #[test]
    fn a_name_that_is_cut_off_is_not_told() {
        let query = packet([4000, 53], [1, 0], QUESTION);
        assert_eq!(text(&query[..query.len() - 6]), "dns query 4660");
        assert_eq!(read(&query[..20 + 8 + 11]), None, "not even a header");
    }

    #[test]
    fn what_is_no_dns_is_none() {
        assert_eq!(read(&packet([4000, 5353], [1, 0], QUESTION)), None);
        let mut tcp = packet([4000, 53], [1, 0], QUESTION);
        tcp[9] = 6;
        assert_eq!(read(&tcp), None);
    }

    /// A terminal gets nothing that it would act on.
    #[test]
    fn what_cannot_be_printed_is_escaped() {
        let question = b"\x05\x1b[2J\n\0\0\x01\0\x01";
        let told = text(&packet([4000, 53], [1, 0], question));
        assert!(told.chars().all(|it| !it.is_control()), "{told:?}");
    }

    #[test]
    fn a_name_that_points_at_itself_ends() {
        assert_eq!(text(&packet([4000, 53], [1, 0], b"\xc0\x0c\0\x01\0\x01")), "dns query 4660");
    }

    proptest! {
        #[test]
        fn any_message_is_read(rest in proptest::collection::vec(any::<u8>(), 0..90)) {
            let told = text(&packet([4000, 53], [1, 0], &rest));
            prop_assert!(told.chars().all(|it| !it.is_control()), "{:?}", told);
        }
    }
}
