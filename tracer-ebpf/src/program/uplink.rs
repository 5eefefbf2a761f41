//! Uplinks: everything the host does passes here, so what is not ours leaves after a few
//! instructions and without a map look-up.

use tracer_common::{
    counter::ParseError,
    stage::{LEAK, WIRE_IN, WIRE_OUT},
};
use tracer_ebpf::parse::{self, IPV4, IPV6, Packet, Stop, Wire};

use super::{
    Observer,
    account::{TunnelEnd, account},
};
use crate::{
    flows::Counted,
    packet::{Copied, Linear, Skb},
};

/// Egress, with or without an Ethernet header.
pub(super) struct Out<const ETHERNET: bool>;

/// Ingress, with or without an Ethernet header.
pub(super) struct In<const ETHERNET: bool>;

impl<const ETHERNET: bool> Observer for Out<ETHERNET> {
    const STAGE: usize = WIRE_OUT;

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
        (IPV4, at) => out_of::<u32, P>(skb, packet, at),
        (IPV6, at) => out_of::<[u32; 4], P>(skb, packet, at),
        _ => Ok(()),
    }
}

#[inline(always)]
fn out_of<A: Counted, P: Packet>(skb: Skb, packet: &P, at: usize) -> Result<(), Stop> {
    let config = A::config();
    if !config.is_used() {
        return Ok(());
    }
    match parse::wire::<A, P>(packet, at, config.vxlan_port())? {
        Wire::Vxlan(vxlan)
            if vxlan.vni == config.vni() && config.is_tunnel_end(vxlan.outer.source) =>
        {
            if let Some(inner) = vxlan.inner(packet)? {
                let end = TunnelEnd { address: vxlan.outer.destination, mac: (0, 0) };
                account::<A, P, WIRE_OUT>(skb, packet, &inner, Some(end));
            }
        }
        Wire::Plain(ip) if config.is_pod(ip.destination) => {
            if let Some(inner) = parse::inner::<A, P>(packet, at)? {
                account::<A, P, LEAK>(skb, packet, &inner, None);
            }
        }
        Wire::Vxlan(_) | Wire::Plain(_) => {}
    }
    Ok(())
}

#[inline(always)]
fn into<P: Packet>(skb: Skb, packet: &P, ethernet: bool) -> Result<(), Stop> {
    if skb.is_for_another_host() {
        return Ok(());
    }
    match network(packet, ethernet)? {
        (IPV4, at) => into_of::<u32, P>(skb, packet, at),
        (IPV6, at) => into_of::<[u32; 4], P>(skb, packet, at),
        _ => Ok(()),
    }
}

#[inline(always)]
fn into_of<A: Counted, P: Packet>(skb: Skb, packet: &P, at: usize) -> Result<(), Stop> {
    let config = A::config();
    if !config.is_used() {
        return Ok(());
    }
    match parse::wire::<A, P>(packet, at, config.vxlan_port())? {
        Wire::Vxlan(vxlan)
            if vxlan.vni == config.vni() && config.is_tunnel_end(vxlan.outer.destination) =>
        {
            if let Some(inner) = vxlan.inner(packet)? {
                let end = TunnelEnd { address: vxlan.outer.source, mac: vxlan.source_mac };
                account::<A, P, WIRE_IN>(skb, packet, &inner, Some(end));
            }
        }
        Wire::Vxlan(_) | Wire::Plain(_) => {}
    }
    Ok(())
}

/// The protocol as an EtherType, as it lies in memory, and where its header begins.
#[inline(always)]
fn network<P: Packet>(packet: &P, ethernet: bool) -> Result<(u16, usize), Stop> {
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
