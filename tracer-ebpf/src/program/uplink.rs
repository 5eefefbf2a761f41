//! Uplinks: everything the host does passes here, so what is not ours leaves after a few
//! instructions and without a map look-up.

use tracer_common::{
    counter::ParseError,
    stage::{LEAK, WIRE_IN, WIRE_OUT},
};
use tracer_ebpf::parse::{self, IPV4, IPV6, Packet, Stop, TCP, Wire};

use super::{
    Observer,
    account::{TunnelEnd, account},
    dns as pairs,
    look::{self, ANSWER, OPENING, TCP_FLAGS, VXLAN_PORTS},
};
use crate::{
    dns,
    flows::Counted,
    packet::{Copied, Linear, Skb},
    sights,
};

/// Egress, with or without an Ethernet header.
pub(super) struct Out<const ETHERNET: bool>;

/// Ingress, with or without an Ethernet header.
pub(super) struct In<const ETHERNET: bool>;

impl<const ETHERNET: bool> Observer for Out<ETHERNET> {
    const STAGE: usize = WIRE_OUT;
    const CLOSER: u32 = if ETHERNET { look::WIRE_OUT } else { look::WIRE_OUT_L3 };

    #[inline(always)]
    fn linear(skb: Skb, packet: &Linear) -> Result<(), Stop> {
        out(skb, packet, ETHERNET)
    }

    #[inline(always)]
    fn copied(skb: Skb, packet: &Copied) -> Result<(), Stop> {
        out(skb, packet, ETHERNET)
    }
}

impl<const ETHERNET: bool> Observer for In<ETHERNET> {
    const STAGE: usize = WIRE_IN;
    const CLOSER: u32 = if ETHERNET { look::WIRE_IN } else { look::WIRE_IN_L3 };

    #[inline(always)]
    fn linear(skb: Skb, packet: &Linear) -> Result<(), Stop> {
        into(skb, packet, ETHERNET)
    }

    #[inline(always)]
    fn copied(skb: Skb, packet: &Copied) -> Result<(), Stop> {
        into(skb, packet, ETHERNET)
    }
}

#[inline(always)]
fn out<P: Packet>(skb: Skb, packet: &P, ethernet: bool) -> Result<(), Stop> {
    match network(packet, ethernet)? {
        (IPV4, at) => out_of::<u32, P>(skb, packet, at, ethernet),
        (IPV6, at) => out_of::<[u32; 4], P>(skb, packet, at, ethernet),
        _ => Ok(()),
    }
}

#[inline(always)]
fn out_of<A: Counted, P: Packet>(
    skb: Skb,
    packet: &P,
    at: usize,
    ethernet: bool,
) -> Result<(), Stop> {
    let config = A::config();
    if !config.is_used() {
        return Ok(());
    }
    let is_rare = match parse::wire::<A, P>(packet, at, config.vxlan_port())? {
        Wire::Vxlan(vxlan)
            if vxlan.vni() == config.vni() && config.is_tunnel_end(vxlan.outer.source) =>
        {
            if let Some(inner) = vxlan.inner(packet)? {
                let address = vxlan.outer.destination;
                let end = TunnelEnd { address, mac: (0, 0), is_framed: false, is_cut: false };
                account::<A, P, WIRE_OUT>(skb, packet, &inner, Some(end));
                // Before what is rare: an answer in fragments is one all the same.
                if inner.key.is_dns() {
                    dns::pair_in(skb, if ethernet { WIRE_OUT as u32 } else { pairs::WIRE_OUT_L3 });
                }
            }
            vxlan.outer.maybe_first_fragment
        }
        Wire::Plain(ip) | Wire::Datagram(ip, _) if config.is_pod(ip.destination) => {
            if let Some(inner) = parse::inner::<A, P>(packet, at)? {
                account::<A, P, LEAK>(skb, packet, &inner, None);
            }
            false
        }
        Wire::Plain(ip) => {
            skb.is_forwarded() && ip.protocol == TCP && is_opening(packet, ip.payload_at)
        }
        Wire::Vxlan(_) | Wire::Datagram(..) => false,
    };
    if is_rare {
        sights::look_closer(skb, if ethernet { look::WIRE_OUT } else { look::WIRE_OUT_L3 });
    }
    Ok(())
}

/// Whether the TCP segment at `at` opens a connection; true where that cannot be read here.
#[inline(always)]
fn is_opening<P: Packet>(packet: &P, at: usize) -> bool {
    packet.byte(at + TCP_FLAGS).is_none_or(|flags| flags & (OPENING | ANSWER) == OPENING)
}

#[inline(always)]
fn into<P: Packet>(skb: Skb, packet: &P, ethernet: bool) -> Result<(), Stop> {
    if skb.is_for_another_host() {
        return Ok(());
    }
    match network(packet, ethernet)? {
        (IPV4, at) => into_of::<u32, P>(skb, packet, at, ethernet),
        (IPV6, at) => into_of::<[u32; 4], P>(skb, packet, at, ethernet),
        _ => Ok(()),
    }
}

#[inline(always)]
fn into_of<A: Counted, P: Packet>(
    skb: Skb,
    packet: &P,
    at: usize,
    ethernet: bool,
) -> Result<(), Stop> {
    let config = A::config();
    if !config.is_used() {
        return Ok(());
    }
    let is_rare = match parse::wire::<A, P>(packet, at, config.vxlan_port())? {
        Wire::Vxlan(vxlan) if config.is_tunnel_end(vxlan.outer.destination) => {
            if vxlan.vni() != config.vni() {
                true
            } else {
                if let Some(inner) = vxlan.inner(packet)? {
                    let (address, mac) = (vxlan.outer.source, vxlan.source_mac);
                    let is_cut = vxlan.outer.maybe_first_fragment;
                    let end = TunnelEnd { address, mac, is_framed: ethernet, is_cut };
                    account::<A, P, WIRE_IN>(skb, packet, &inner, Some(end));
                    // What is rare here is nothing that the node takes.
                    if inner.key.is_dns()
                        && !config.refuses_header(vxlan.header)
                        && !config.is_own_mac(vxlan.source_mac)
                    {
                        dns::pair_in(
                            skb,
                            if ethernet { WIRE_IN as u32 } else { pairs::WIRE_IN_L3 },
                        );
                    }
                }
                // Only now: an answer that is carried past the counting has old verifiers follow
                // all of it once for each way to the answer.
                config.refuses_header(vxlan.header) || config.is_own_mac(vxlan.source_mac)
            }
        }
        Wire::Vxlan(_) => false,
        Wire::Datagram(_, port) => VXLAN_PORTS.contains(&port),
        Wire::Plain(ip) => ip.protocol == A::ICMP,
    };
    if is_rare {
        sights::look_closer(skb, if ethernet { look::WIRE_IN } else { look::WIRE_IN_L3 });
    }
    Ok(())
}

/// The protocol as an EtherType, as it lies in memory, and where its header begins.
#[inline(always)]
pub(super) fn network<P: Packet>(packet: &P, ethernet: bool) -> Result<(u16, usize), Stop> {
    if ethernet {
        return parse::ethernet(packet, 0);
    }
    // Two bytes, because the verifier does not follow the compiler's comparison for one.
    let first = packet.half(0).ok_or(ParseError::TruncatedIpv4)?;
    Ok(match u16::from_be(first) >> 12 {
        4 => (IPV4, 0),
        6 => (IPV6, 0),
        _ => (0, 0),
    })
}
