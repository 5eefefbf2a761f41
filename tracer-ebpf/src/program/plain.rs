//! Bridge and overlay device: the inner packet stands in the clear, behind an Ethernet header.

use tracer_common::stage::{OVERLAY_IN, OVERLAY_OUT, POD_OUT};
use tracer_ebpf::parse::{self, ARP, IPV4, IPV6, Inner, Packet, Stop, TCP};

use super::{
    Observer,
    account::account,
    look::{self, NEIGHBOUR_ADVERTISEMENT, RESET, TCP_FLAGS},
};
use crate::{
    dns,
    flows::Counted,
    packet::{Copied, Linear, Skb},
    sights,
};

/// Bytes of an Ethernet header without tags.
const ETHERNET: usize = 14;

/// A stage of the bridge or the overlay device.
pub(super) struct Plain<const STAGE: usize>;

impl<const STAGE: usize> Observer for Plain<STAGE> {
    const STAGE: usize = STAGE;
    const CLOSER: u32 = match STAGE {
        OVERLAY_IN => look::OVERLAY_IN,
        POD_OUT => look::POD_OUT,
        // At the overlay device's egress nothing is rare.
        _ => look::POD_IN,
    };

    #[inline(always)]
    fn linear(skb: Skb, packet: &Linear) -> Result<(), Stop> {
        observe::<_, STAGE>(skb, packet)
    }

    #[inline(always)]
    fn copied(skb: Skb, packet: &Copied) -> Result<(), Stop> {
        observe::<_, STAGE>(skb, packet)
    }
}

#[inline(always)]
fn observe<P: Packet, const STAGE: usize>(skb: Skb, packet: &P) -> Result<(), Stop> {
    // A bridge in promiscuous mode hands up what it forwards from pod to pod.
    if STAGE == POD_OUT && skb.is_for_another_host() {
        return Ok(());
    }
    match parse::ethernet(packet, 0)? {
        (IPV4, at) => count::<u32, P, STAGE>(skb, packet, at),
        (IPV6, at) => count::<[u32; 4], P, STAGE>(skb, packet, at),
        (ARP, _) if STAGE == POD_OUT => {
            sights::look_closer(skb, look::POD_OUT);
            Ok(())
        }
        _ => Ok(()),
    }
}

#[inline(always)]
fn count<A: Counted, P: Packet, const STAGE: usize>(
    skb: Skb,
    packet: &P,
    at: usize,
) -> Result<(), Stop> {
    if !A::config().is_used() {
        return Ok(());
    }
    let Some(inner) = parse::inner::<A, P>(packet, at)? else {
        // Neighbours are advertised to link-local and multicast addresses.
        if STAGE == POD_OUT && A::ETHERTYPE == IPV6 {
            sights::look_closer(skb, look::POD_OUT);
        }
        return Ok(());
    };
    account::<A, P, STAGE>(skb, packet, &inner, None);
    if is_rare::<A, P, STAGE>(skb, &inner) {
        sights::look_closer(skb, Plain::<STAGE>::CLOSER);
    }
    // Behind what is rare: that is a frame for another, which nobody takes.
    if inner.key.is_dns() {
        dns::pair_in(skb, STAGE as u32);
    }
    Ok(())
}

/// Whether a packet is worth a closer look, by what costs least to ask.
#[inline(always)]
fn is_rare<A: Counted, P: Packet, const STAGE: usize>(skb: Skb, inner: &Inner<A>) -> bool {
    let is_from_afar = STAGE == OVERLAY_IN;
    let (ip, from) = (&inner.ip, inner.key.source_port());
    match ip.protocol {
        TCP if is_from_afar || STAGE == POD_OUT => {
            is_reset::<A, P>(skb) || is_from_afar && skb.is_for_another_mac()
        }
        protocol if protocol == A::ICMP && STAGE != OVERLAY_OUT => {
            let icmp_type = (from >> 8) as u8;
            let is_advertised = A::ETHERTYPE == IPV6 && icmp_type == NEIGHBOUR_ADVERTISEMENT;
            A::is_error(icmp_type)
                || STAGE == POD_OUT && is_advertised
                || is_from_afar && skb.is_for_another_mac()
        }
        _ => is_from_afar && skb.is_for_another_mac(),
    }
}

/// Whether a TCP segment resets its connection; true where that is not easily read.
///
/// The offset is a constant where headers lie as usual, and not the parsed one: kept while the
/// packet was counted that is no constant to the verifier, which asks for CAP_PERFMON then.
#[inline(always)]
fn is_reset<A: Counted, P: Packet>(skb: Skb) -> bool {
    let flags_at = ETHERNET + if A::ETHERTYPE == IPV6 { 40 } else { 20 } + TCP_FLAGS;
    P::ANY_LAYOUT || skb.linear().byte(flags_at).is_none_or(|flags| flags & RESET != 0)
}
