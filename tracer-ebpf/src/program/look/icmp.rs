//! ICMP errors and what they quote.

use tracer_common::sight::{SightKey, SightKind};
use tracer_ebpf::parse::{Ip, Packet as _, SCTP, TCP, UDP};

use crate::{
    flows::Counted,
    packet::{Copied, Skb},
};

/// Bytes of an ICMP header, of either version.
const HEADER: usize = 8;
/// "Fragmentation needed" (RFC 1191) and "packet too big" (RFC 4443, section 3.2): type and code.
const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];

/// An error.
pub(super) struct Error<A> {
    /// As it is counted.
    pub(super) key: SightKey,
    /// The quoted packet.
    pub(super) quoted: Ip<A>,
    /// Its destination port; for ICMP its code.
    pub(super) port: u16,
}

/// Reads the ICMP message that `ip` carries; `None` when it is no error.
#[inline(always)]
pub(super) fn error<A: Counted>(skb: Skb, packet: &Copied, ip: &Ip<A>) -> Option<Error<A>> {
    let [first, second] = packet.words::<2>(ip.payload_at)?.map(u32::from_be);
    let (kind, code) = ((first >> 24) as u8, (first >> 16) as u8);
    if ip.protocol != A::ICMP || ip.later_fragment || !A::is_error(kind) {
        return None;
    }
    let quoted = A::read(packet, ip.payload_at + HEADER).ok()?;
    let ports = ports(packet, &quoted)?;
    let names_mtu = (kind, code) == TOO_BIG[usize::from(A::BITS != u32::BITS)];
    let mtu = if names_mtu { mtu::<A>(second) } else { 0 };
    let key = SightKey::new(SightKind::IcmpError, skb.ifindex(), [ip.source, ip.destination])
        .with_number(mtu)
        .with_quoted([kind, code], [quoted.source, quoted.destination], quoted.protocol, ports);
    Some(Error { key, quoted, port: ports[1] })
}

#[inline(always)]
fn mtu<A: Counted>(second: u32) -> u32 {
    // The other half is unused over IPv4, and has a meaning of its own in extended errors.
    if A::BITS == u32::BITS { second & 0xffff } else { second.min(0xffff) }
}

/// Ports of a quoted packet as a key holds them: without a client's own, which differs from one
/// attempt to the next. Of ICMP type and code; 0 where there are none.
#[inline(always)]
fn ports<A: Counted>(packet: &Copied, quoted: &Ip<A>) -> Option<[u16; 2]> {
    let at = quoted.payload_at;
    Some(match quoted.protocol {
        _ if quoted.later_fragment => [0, 0],
        TCP | UDP | SCTP => [0, u16::from_be(packet.half(at + 2)?)],
        protocol if protocol == A::ICMP => {
            let first = u16::from_be(packet.half(at)?);
            let kind = first >> 8;
            [kind, if kind == u16::from(A::ECHO[0]) { 0 } else { first & 0xff }]
        }
        _ => [0, 0],
    })
}
