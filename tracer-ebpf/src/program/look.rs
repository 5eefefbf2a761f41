//! The programs that look closely at rare packets: off the path of ordinary ones, so every read is
//! a copy, and whatever cannot be read is none of these sights.

mod icmp;
mod pods;
mod tunnel;

use aya_ebpf::{EbpfContext as _, macros::classifier, programs::TcContext};
use tracer_ebpf::parse::{ARP, IPV4, IPV6};

use super::{NEXT, uplink::network};
use crate::{
    flows::Counted,
    packet::{Copied, Skb},
    samples,
};

/// Numbers in [`tracer_common::names::LOOKS`].
pub(super) const WIRE_IN: u32 = 0;
pub(super) const WIRE_IN_L3: u32 = 1;
pub(super) const WIRE_OUT: u32 = 2;
pub(super) const WIRE_OUT_L3: u32 = 3;
pub(super) const OVERLAY_IN: u32 = 4;
pub(super) const POD_OUT: u32 = 5;
pub(super) const POD_IN: u32 = 6;

/// VXLAN's ports, IANA's and Linux's, as they lie in memory.
pub(super) const VXLAN_PORTS: [u16; 2] = [4789_u16.to_be(), 8472_u16.to_be()];
/// Where in a TCP header its flags stand, and those that matter (RFC 9293, section 3.1).
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const OPENING: u8 = 0x02;
pub(super) const RESET: u8 = 0x04;
pub(super) const ANSWER: u8 = 0x10;
/// RFC 4861, section 4.4.
pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// A place to look from.
trait Place {
    /// At an IP packet that begins at `at`. `None` when it shows nothing, or cannot be read.
    fn look<A: Counted>(skb: Skb, packet: &Copied, at: usize) -> Option<()>;

    /// At an ARP packet.
    fn look_at_arp(_skb: Skb, _packet: &Copied, _at: usize) -> Option<()> {
        None
    }
}

#[classifier]
#[inline(always)]
fn look_wire_in(context: TcContext) -> i32 {
    run::<tunnel::Into>(&context, true)
}

#[classifier]
#[inline(always)]
fn look_wire_in_l3(context: TcContext) -> i32 {
    run::<tunnel::Into>(&context, false)
}

#[classifier]
#[inline(always)]
fn look_wire_out(context: TcContext) -> i32 {
    run::<tunnel::Out>(&context, true)
}

#[classifier]
#[inline(always)]
fn look_wire_out_l3(context: TcContext) -> i32 {
    run::<tunnel::Out>(&context, false)
}

#[classifier]
#[inline(always)]
fn look_overlay_in(context: TcContext) -> i32 {
    run::<pods::FromTunnel>(&context, true)
}

#[classifier]
#[inline(always)]
fn look_pod_out(context: TcContext) -> i32 {
    run::<pods::FromPod>(&context, true)
}

#[classifier]
#[inline(always)]
fn look_pod_in(context: TcContext) -> i32 {
    run::<pods::ToPod>(&context, true)
}

#[inline(always)]
fn run<P: Place>(context: &TcContext, ethernet: bool) -> i32 {
    let skb = Skb(context.as_ptr().cast());
    let packet = skb.copied();
    // Nothing to say of a packet that shows nothing.
    let _ = match network(&packet, ethernet) {
        Ok((IPV4, at)) => P::look::<u32>(skb, &packet, at),
        Ok((IPV6, at)) => P::look::<[u32; 4]>(skb, &packet, at),
        Ok((ARP, at)) => P::look_at_arp(skb, &packet, at),
        _ => None,
    };
    samples::finish(skb);
    NEXT
}
