//! Where the packets of a connection go after translation of addresses: single questions to the
//! kernel's table of connections. It is never dumped, and its events are never listened to: the
//! first listener switches them on for the whole host.
//!
//! A connection enters the table when its first packet has passed POSTROUTING (net/netfilter/
//! nf_conntrack_core.c, __nf_conntrack_confirm, 6.18). One whose packets all die before has no entry.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::IpAddr,
    sync::OnceLock,
};

use anyhow::Context as _;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple},
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{
    attributes::find,
    socket::{NetlinkError, Socket},
};
use crate::kernel::FlowName;

// include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4: [u16; 2] = [1, 2];
const CTA_IP_V6: [u16; 2] = [3, 4];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_PORTS: [u16; 2] = [2, 3];
/// Identifier, type and code.
const CTA_PROTO_ICMP: [u16; 3] = [4, 5, 6];
const CTA_PROTO_ICMPV6: [u16; 3] = [7, 8, 9];

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;

/// An entry of the table of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Differs between two entries.
    pub id: u32,
    /// The flow that was asked for, as it is called when it has been translated; its own name when
    /// it is not.
    pub sent_as: FlowName,
}

/// The table of connections of the namespace in which it was opened, in zone 0.
pub struct Connections {
    socket: Socket,
}

// === impl Connections ===

impl Connections {
    /// Where asking changes nothing: a question would load the kernel's module.
    ///
    /// # Errors
    /// When the module is not there, or no socket can be had.
    pub fn open() -> anyhow::Result<Self> {
        anyhow::ensure!(
            is_there(),
            "the kernel's module nf_conntrack_netlink is not loaded \
             (`modprobe nf_conntrack_netlink`, then run this again)"
        );
        Ok(Self { socket: Socket::open(NETLINK_NETFILTER)? })
    }

    /// The connection that this flow opened; `None` when there is none, and when the flow is what
    /// answers in one. Needs the capability NET_ADMIN.
    ///
    /// # Errors
    /// When the kernel refuses, or gives no answer.
    pub fn look_up(&mut self, flow: &FlowName) -> anyhow::Result<Option<Connection>> {
        let entry = self.entry(flow)?.filter(|entry| entry.original == *flow);
        Ok(entry.map(|entry| Connection { id: entry.id, sent_as: entry.sent_as() }))
    }

    /// The name under which this flow was opened, when it is called as it is after its translation;
    /// of flows with ports. Needs the same.
    ///
    /// # Errors
    /// The same.
    pub fn opened_as(&mut self, flow: &FlowName) -> anyhow::Result<Option<FlowName>> {
        let answer = FlowName {
            source: flow.destination,
            destination: flow.source,
            protocol: flow.protocol,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
        };
        let entry = self.entry(&answer)?.filter(|entry| entry.sent_as() == *flow);
        Ok(entry.map(|entry| entry.original))
    }

    /// The entry with these packets in either direction.
    fn entry(&mut self, packets: &FlowName) -> anyhow::Result<Option<Entry>> {
        let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
        match self.socket.ask(kind, &question(packets)) {
            Ok(answer) => Ok(decode(&answer.body)),
            Err(NetlinkError::Refused { errno: libc::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error).context("asking the kernel's table of connections"),
        }
    }
}

/// What the kernel tells of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: u32,
    /// The flow that opened it, as it was sent.
    original: FlowName,
    /// What answers, as it is sent.
    reply: FlowName,
}

impl Entry {
    /// How the flow that opened it is called when it has been translated.
    const fn sent_as(&self) -> FlowName {
        let Self { original, reply, .. } = *self;
        let (source, destination) = (reply.destination, reply.source);
        match icmp(original.protocol) {
            Some(_) => FlowName {
                source,
                destination,
                destination_port: reply.destination_port,
                ..original
            },
            None => FlowName {
                source,
                destination,
                source_port: reply.destination_port,
                destination_port: reply.source_port,
                ..original
            },
        }
    }
}

/// Whether the table can be asked without a module being loaded for it (net/netfilter/nfnetlink.c,
/// nfnetlink_rcv_msg, 6.18).
fn is_there() -> bool {
    // A kernel without modules loads none.
    let Ok(modules) = fs::read_to_string("/proc/modules") else { return true };
    modules.lines().any(|line| line.starts_with("nf_conntrack_netlink ")) || is_built_in()
}

/// A function of a module has the module's name behind its own.
fn is_built_in() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let Ok(symbols) = File::open("/proc/kallsyms") else { return false };
        let mut lines = BufReader::new(symbols).lines().map_while(Result::ok);
        lines.any(|line| line.ends_with(" ctnetlink_get_conntrack"))
    })
}

fn question(flow: &FlowName) -> NetfilterMessage {
    let family = match flow.source {
        IpAddr::V4(_) => NetfilterProtoFamily::IPv4,
        IpAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    let addresses =
        vec![IPTuple::SourceAddress(flow.source), IPTuple::DestinationAddress(flow.destination)];
    let mut protocol = vec![ProtoTuple::Protocol(flow.protocol.into())];
    match icmp(flow.protocol) {
        None => protocol.extend([
            ProtoTuple::SourcePort(flow.source_port),
            ProtoTuple::DestinationPort(flow.destination_port),
        ]),
        Some([identifier, kind, code]) => {
            let [kind_value, code_value] = flow.source_port.to_be_bytes();
            let identifier_value = flow.destination_port.to_be_bytes();
            protocol.extend(
                [
                    DefaultNla::new(identifier, identifier_value.to_vec()),
                    DefaultNla::new(kind, vec![kind_value]),
                    DefaultNla::new(code, vec![code_value]),
                ]
                .map(ProtoTuple::Other),
            );
        }
    }
    let tuple = vec![Tuple::Ip(addresses), Tuple::Proto(protocol)];
    let message = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleOrig(tuple)]);
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

const fn icmp(protocol: u8) -> Option<[u16; 3]> {
    match protocol {
        ICMP => Some(CTA_PROTO_ICMP),
        ICMPV6 => Some(CTA_PROTO_ICMPV6),
        _ => None,
    }
}

fn decode(body: &[u8]) -> Option<Entry> {
    let attributes = body.get(HEADER..)?;
    let tuple = |kind| find(attributes, kind).and_then(name);
    let id = find(attributes, CTA_ID).and_then(|value| value.first_chunk());
    let id = id.map_or(0, |id| u32::from_be_bytes(*id));
    Some(Entry { id, original: tuple(CTA_TUPLE_ORIG)?, reply: tuple(CTA_TUPLE_REPLY)? })
}

/// Whose packets a tuple means.
fn name(tuple: &[u8]) -> Option<FlowName> {
    let (addresses, numbers) = (find(tuple, CTA_TUPLE_IP)?, find(tuple, CTA_TUPLE_PROTO)?);
    let byte = |kind| find(numbers, kind).and_then(|value| value.first()).copied();
    let number = |kind| {
        let value = find(numbers, kind).and_then(|value| value.first_chunk());
        value.map_or(0, |value| u16::from_be_bytes(*value))
    };
    let [source, destination] = [0, 1].map(|end| address(addresses, end));
    let protocol = byte(CTA_PROTO_NUM)?;
    let (source_port, destination_port) = match icmp(protocol) {
        None => (number(CTA_PROTO_PORTS[0]), number(CTA_PROTO_PORTS[1])),
        Some([identifier, kind, code]) => {
            let of_message = [kind, code].map(|it| byte(it).unwrap_or(0));
            (u16::from_be_bytes(of_message), number(identifier))
        }
    };
    Some(FlowName {
        source: source?,
        destination: destination?,
        protocol,
        source_port,
        destination_port,
    })
}

fn address(attributes: &[u8], end: usize) -> Option<IpAddr> {
    let v4 = || find(attributes, CTA_IP_V4[end])?.first_chunk::<4>().copied().map(IpAddr::from);
    let v6 = || find(attributes, CTA_IP_V6[end])?.first_chunk::<16>().copied().map(IpAddr::from);
    v4().or_else(v6)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;
    use crate::netlink::attributes::testing::attribute;

    fn flow(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> FlowName {
        FlowName {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            source_port: ports.0,
            destination_port: ports.1,
        }
    }

    /// A tuple as the kernel writes it, with the flag of nested attributes.
    fn tuple(kind: u16, flow: &FlowName) -> Vec<u8> {
        const NESTED: u16 = 1 << 15;
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let kinds = if flow.source.is_ipv4() { CTA_IP_V4 } else { CTA_IP_V6 };
        let addresses = [
            attribute(kinds[0], &octets(flow.source)),
            attribute(kinds[1], &octets(flow.destination)),
        ];
        let mut numbers = attribute(CTA_PROTO_NUM, &[flow.protocol]);
        match icmp(flow.protocol) {
            None => {
                numbers.extend(attribute(CTA_PROTO_PORTS[0], &flow.source_port.to_be_bytes()));
                numbers.extend(attribute(CTA_PROTO_PORTS[1], &flow.destination_port.to_be_bytes()));
            }
            Some([identifier, kind, code]) => {
                let [kind_value, code_value] = flow.source_port.to_be_bytes();
                numbers.extend(attribute(identifier, &flow.destination_port.to_be_bytes()));
                numbers.extend(attribute(kind, &[kind_value]));
                numbers.extend(attribute(code, &[code_value]));
            }
        }
        let parts = [
            attribute(CTA_TUPLE_IP | NESTED, &addresses.concat()),
            attribute(CTA_TUPLE_PROTO | NESTED, &numbers),
        ];
        attribute(kind | NESTED, &parts.concat())
    }

    fn answer(original: &FlowName, reply: &FlowName) -> Vec<u8> {
        let id = attribute(CTA_ID, &7_u32.to_be_bytes());
        [vec![2, 0, 0, 0], tuple(1, original), tuple(2, reply), id].concat()
    }

    #[test]
    fn a_question_names_the_flow_as_the_kernel_reads_it() {
        for flow in [
            flow("10.244.1.5", "10.96.0.10", 17, (40_000, 53)),
            flow("fd00::5", "fd00:96::a", 6, (40_000, 443)),
            flow("10.244.1.5", "10.96.0.10", ICMP, (8 << 8, 77)),
            flow("fd00::5", "fd00:96::a", ICMPV6, (128 << 8, 77)),
        ] {
            let question = question(&flow);
            let mut body = vec![0; question.buffer_len()];
            question.emit(&mut body);
            assert_eq!(body[0], if flow.source.is_ipv4() { 2 } else { 10 });
            let asked = find(&body[HEADER..], CTA_TUPLE_ORIG).and_then(name);
            assert_eq!(asked, Some(flow));
            assert_eq!(find(&body[HEADER..], CTA_TUPLE_REPLY), None);
        }
    }

    #[test]
    fn the_answer_names_what_stands_behind_a_service() {
        let asked = flow("10.244.1.5", "10.96.0.10", 17, (40_000, 53));
        let reply = flow("10.244.2.9", "10.244.1.5", 17, (5353, 40_000));
        let sent_as = flow("10.244.1.5", "10.244.2.9", 17, (40_000, 5353));
        let entry = decode(&answer(&asked, &reply)).unwrap();
        assert_eq!(entry, Entry { id: 7, original: asked, reply });
        assert_eq!(entry.sent_as(), sent_as);
        let masqueraded = flow("10.244.2.9", "10.244.1.0", 17, (53, 61_000));
        let sent_as = decode(&answer(&asked, &masqueraded)).unwrap().sent_as();
        assert_eq!(sent_as, flow("10.244.1.0", "10.244.2.9", 17, (61_000, 53)));
    }

    #[test]
    fn an_echo_keeps_its_kind_and_has_the_identifier_of_the_answer() {
        let asked = flow("fd00::5", "fd00:96::a", ICMPV6, (128 << 8, 77));
        let reply = flow("fd00:2::9", "fd00::5", ICMPV6, (129 << 8, 78));
        let sent_as = decode(&answer(&asked, &reply)).unwrap().sent_as();
        assert_eq!(sent_as, flow("fd00::5", "fd00:2::9", ICMPV6, (128 << 8, 78)));
    }

    #[test]
    fn a_truncated_answer_is_none_and_no_panic() {
        let asked = flow("10.244.1.5", "10.96.0.10", 17, (40_000, 53));
        let whole = answer(&asked, &flow("10.244.2.9", "10.244.1.5", 17, (53, 40_000)));
        for length in 0..whole.len() - 8 {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
    }
}
