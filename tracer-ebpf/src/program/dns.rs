//! The programs that pair DNS queries with their answers, a stage each. The stage's own program has
//! counted the packet, and whatever is wrong with it, when it comes here.

use aya_ebpf::{EbpfContext as _, macros::classifier, programs::TcContext};
use tracer_common::{
    counter::ParseError,
    stage::{OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN, WIRE_OUT},
};
use tracer_ebpf::parse::{self, IPV4, IPV6, Inner, Packet, Stop, Wire};

use super::{NEXT, uplink::network};
use crate::{counters, dns, flows::Counted, packet::Skb, samples};

/// Numbers in [`tracer_common::names::PAIRS`]: that of a stage is its own.
pub(super) const WIRE_OUT_L3: u32 = 6;
pub(super) const WIRE_IN_L3: u32 = 7;

#[classifier]
#[inline(always)]
fn dns_pod_out(context: TcContext) -> i32 {
    run::<POD_OUT, true>(&context)
}

#[classifier]
#[inline(always)]
fn dns_overlay_out(context: TcContext) -> i32 {
    run::<OVERLAY_OUT, true>(&context)
}

#[classifier]
#[inline(always)]
fn dns_wire_out(context: TcContext) -> i32 {
    run::<WIRE_OUT, true>(&context)
}

#[classifier]
#[inline(always)]
fn dns_wire_in(context: TcContext) -> i32 {
    run::<WIRE_IN, true>(&context)
}

#[classifier]
#[inline(always)]
fn dns_overlay_in(context: TcContext) -> i32 {
    run::<OVERLAY_IN, true>(&context)
}

#[classifier]
#[inline(always)]
fn dns_pod_in(context: TcContext) -> i32 {
    run::<POD_IN, true>(&context)
}

#[classifier]
#[inline(always)]
fn dns_wire_out_l3(context: TcContext) -> i32 {
    run::<WIRE_OUT, false>(&context)
}

#[classifier]
#[inline(always)]
fn dns_wire_in_l3(context: TcContext) -> i32 {
    run::<WIRE_IN, false>(&context)
}

#[inline(always)]
fn run<const STAGE: usize, const ETHERNET: bool>(context: &TcContext) -> i32 {
    let skb = Skb(context.as_ptr().cast());
    match read::<_, STAGE, ETHERNET>(skb, &skb.linear()) {
        Ok(()) => {}
        Err(Stop::Malformed(ParseError::DnsDirection)) => {
            malformed::<STAGE>(skb, ParseError::DnsDirection);
        }
        Err(_) => from_copy::<STAGE, ETHERNET>(skb),
    }
    samples::finish(skb);
    NEXT
}

/// The linear part ended early, or headers lie elsewhere than usual. What is wrong with the packet
/// before its DNS header is counted already.
#[inline(always)]
fn from_copy<const STAGE: usize, const ETHERNET: bool>(skb: Skb) {
    if let Err(Stop::Malformed(error @ (ParseError::TruncatedDns | ParseError::DnsDirection))) =
        read::<_, STAGE, ETHERNET>(skb, &skb.copied())
    {
        malformed::<STAGE>(skb, error);
    }
}

#[inline(always)]
fn malformed<const STAGE: usize>(skb: Skb, error: ParseError) {
    let before = counters::add_parse_error(STAGE, error);
    samples::malformed(skb, STAGE, error, before);
}

#[inline(always)]
fn read<P: Packet, const STAGE: usize, const ETHERNET: bool>(
    skb: Skb,
    packet: &P,
) -> Result<(), Stop> {
    match network(packet, ETHERNET)? {
        (IPV4, at) => read_ip::<u32, P, STAGE>(skb, packet, at),
        (IPV6, at) => read_ip::<[u32; 4], P, STAGE>(skb, packet, at),
        _ => Ok(()),
    }
}

#[inline(always)]
fn read_ip<A: Counted, P: Packet, const STAGE: usize>(
    skb: Skb,
    packet: &P,
    at: usize,
) -> Result<(), Stop> {
    if !A::config().is_used() {
        return Ok(());
    }
    if matches!(STAGE, WIRE_OUT | WIRE_IN) {
        if let Wire::Vxlan(vxlan) = parse::wire::<A, P>(packet, at, A::config().vxlan_port())? {
            if let Some(inner) = vxlan.inner(packet)? {
                return pair::<A, P, STAGE>(skb, packet, &inner);
            }
        }
        return Ok(());
    }
    match parse::inner::<A, P>(packet, at)? {
        Some(inner) => pair::<A, P, STAGE>(skb, packet, &inner),
        None => Ok(()),
    }
}

#[inline(always)]
fn pair<A: Counted, P: Packet, const STAGE: usize>(
    skb: Skb,
    packet: &P,
    inner: &Inner<A>,
) -> Result<(), Stop> {
    let message = parse::dns(packet, inner)?;
    dns::pair::<STAGE>(&message, may_be_first::<STAGE>(skb));
    Ok(())
}

/// Whether a query may be new to the node here. What comes out of the tunnel may be so twice: of
/// several datagrams in one packet the uplink shows the first.
#[inline(always)]
fn may_be_first<const STAGE: usize>(skb: Skb) -> bool {
    match STAGE {
        POD_OUT | WIRE_IN | OVERLAY_IN => true,
        OVERLAY_OUT | POD_IN => !skb.is_forwarded(),
        _ => false,
    }
}
