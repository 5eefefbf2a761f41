//! The headers at the beginning of a packet, as far as its bytes go. Pure.

mod dns;

use std::{fmt, net::IpAddr};

use etherparse::{
    EtherType, Ipv6ExtensionSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, ip_number,
};
use serde::{Serialize, Serializer};

pub use self::dns::DnsMessage;
use crate::{
    evidence::{MacAddress, has_ports},
    export::protocol,
};

/// Bytes of a UDP header, and of a VXLAN header.
const UDP: usize = 8;
const VXLAN: usize = 8;
/// Where in a TCP header its flags stand.
const TCP_FLAGS: usize = 13;

/// Headers of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Headers {
    /// Those of the tunnel, where the packet is in one.
    pub outer: Option<Outer>,
    /// The packet's own; `None` where they cannot be read.
    pub inner: Option<Layers>,
}

/// Headers of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outer {
    /// Up to UDP.
    #[serde(flatten)]
    pub layers: Layers,
    /// The number in the VXLAN header.
    pub vni: u32,
}

/// Headers from the link layer up. What is not there, or cannot be read, is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Layers {
    pub source_mac: Option<MacAddress>,
    pub destination_mac: Option<MacAddress>,
    /// Of ARP the sender.
    pub source: Option<IpAddr>,
    /// Of ARP the address that is asked for or answered to.
    pub destination: Option<IpAddr>,
    pub protocol: Option<Protocol>,
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub tcp_flags: Option<TcpFlags>,
    /// Type and code of an ICMP message.
    pub icmp: Option<[u8; 2]>,
}

/// What an Ethernet frame or an IP packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// By its number in an IP header.
    Ip(u8),
    /// ARP.
    Arp,
    /// Something else, by its EtherType.
    Ether(u16),
}

/// The flags of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(u8);

// === impl Headers ===

impl Headers {
    /// Reads a packet whose first bytes these are. A datagram to one of `tunnel_ports` is one of the
    /// tunnel.
    #[must_use]
    pub fn read(bytes: &[u8], has_ethernet: bool, tunnel_ports: &[u16]) -> Self {
        let (outer, inner) = split(bytes, has_ethernet, tunnel_ports);
        Self { outer, inner: inner.map(|it| it.0) }
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Outer { layers, vni }) = &self.outer {
            write!(out, "{layers} vni {vni} | ")?;
        }
        match &self.inner {
            Some(layers) => layers.fmt(out),
            None => out.write_str("no headers that can be read"),
        }
    }
}

// === impl Layers ===

impl fmt::Display for Layers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if let (Some(source), Some(destination)) = (self.source_mac, self.destination_mac) {
            words.push(format!("{source} > {destination}"));
        }
        if let (Some(source), Some(destination)) = (self.source, self.destination) {
            let end = |address: IpAddr, port: Option<u16>| match (address, port) {
                (address, None) => address.to_string(),
                (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
                (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            };
            let (source, destination) =
                (end(source, self.source_port), end(destination, self.destination_port));
            words.push(format!("{source} > {destination}"));
        }
        words.extend(self.protocol.map(|it| it.to_string()));
        words.extend(self.tcp_flags.map(|it| it.to_string()).filter(|it| !it.is_empty()));
        words.extend(self.icmp.map(|[kind, code]| format!("type {kind} code {code}")));
        out.write_str(&words.join(" "))
    }
}

/// The tunnel's headers, the packet's own, and what follows its IP header.
fn split<'a>(
    bytes: &'a [u8],
    has_ethernet: bool,
    tunnel_ports: &[u16],
) -> (Option<Outer>, Option<(Layers, &'a [u8])>) {
    let Some((layers, payload)) = layers(bytes, has_ethernet) else { return (None, None) };
    let is_udp = layers.protocol == Some(Protocol::Ip(ip_number::UDP.0));
    let is_tunnel = layers.destination_port.is_some_and(|port| tunnel_ports.contains(&port));
    match payload.get(UDP..UDP + VXLAN) {
        Some(header) if is_udp && is_tunnel => {
            let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
            (Some(Outer { layers, vni }), self::layers(&payload[UDP + VXLAN..], true))
        }
        _ => (None, Some((layers, payload))),
    }
}

/// The headers of a packet up to TCP, UDP or ICMP, and what follows the IP header.
fn layers(bytes: &[u8], has_ethernet: bool) -> Option<(Layers, &[u8])> {
    let sliced = if has_ethernet {
        LaxSlicedPacket::from_ethernet(bytes).ok()?
    } else {
        LaxSlicedPacket::from_ip(bytes).ok()?
    };
    let mut layers = Layers::default();
    if let Some(LinkSlice::Ethernet2(frame)) = &sliced.link {
        layers.source_mac = Some(MacAddress(frame.source()));
        layers.destination_mac = Some(MacAddress(frame.destination()));
        layers.protocol =
            ether_protocol(sliced.ether_payload().map_or(frame.ether_type(), |it| it.ether_type));
    }
    let payload = match &sliced.net {
        Some(LaxNetSlice::Ipv4(packet)) => {
            let header = packet.header();
            layers.source = Some(header.source_addr().into());
            layers.destination = Some(header.destination_addr().into());
            let is_later = header.fragments_offset().value() != 0;
            Some((packet.payload(), is_later))
        }
        Some(LaxNetSlice::Ipv6(packet)) => {
            let header = packet.header();
            layers.source = Some(header.source_addr().into());
            layers.destination = Some(header.destination_addr().into());
            let is_later = packet.extensions().clone().into_iter().any(|it| match it {
                Ipv6ExtensionSlice::Fragment(it) => it.fragment_offset().value() != 0,
                _ => false,
            });
            Some((packet.payload(), is_later))
        }
        Some(LaxNetSlice::Arp(packet)) => {
            layers.take_arp(packet.slice());
            None
        }
        None => None,
    };
    let Some((payload, is_later_fragment)) = payload else { return Some((layers, &[])) };
    layers.protocol = Some(Protocol::Ip(payload.ip_number.0));
    if !is_later_fragment {
        layers.take_transport(payload.ip_number.0, payload.payload);
    }
    Some((layers, payload.payload))
}

/// `None` for IP, whose own header says more.
fn ether_protocol(ether_type: EtherType) -> Option<Protocol> {
    match ether_type {
        EtherType::IPV4 | EtherType::IPV6 => None,
        EtherType::ARP => Some(Protocol::Arp),
        EtherType(other) => Some(Protocol::Ether(other)),
    }
}

impl Layers {
    /// The addresses of an ARP packet for IPv4 over Ethernet (RFC 826).
    fn take_arp(&mut self, packet: &[u8]) {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(octets.into())
        };
        self.protocol = Some(Protocol::Arp);
        (self.source, self.destination) = (address(14), address(24));
    }

    /// Ports, flags and types where they stand, however little of the header there is.
    fn take_transport(&mut self, protocol: u8, bytes: &[u8]) {
        let half = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        if has_ports(protocol) {
            (self.source_port, self.destination_port) = (half(0), half(2));
        }
        if matches!(protocol, 1 | 58) {
            self.icmp = bytes.first().copied().zip(bytes.get(1).copied()).map(Into::into);
        }
        if protocol == 6 {
            self.tcp_flags = bytes.get(TCP_FLAGS).copied().map(TcpFlags);
        }
    }
}

// === impl Protocol ===

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(number) => out.write_str(&protocol(*number)),
            Self::Arp => out.write_str("arp"),
            Self::Ether(number) => write!(out, "0x{number:04x}"),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl TcpFlags ===

/// As `SYN,ACK`.
impl fmt::Display for TcpFlags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u8, &str); 6] =
            [(2, "SYN"), (1, "FIN"), (4, "RST"), (8, "PSH"), (32, "URG"), (16, "ACK")];
        let set = NAMES.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name);
        out.write_str(&set.collect::<Vec<_>>().join(","))
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
