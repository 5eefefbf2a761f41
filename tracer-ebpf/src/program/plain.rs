//! Bridge and overlay device: the inner packet stands in the clear, behind an Ethernet header.

use tracer_common::stage::POD_OUT;
use tracer_ebpf::parse::{self, IPV4, IPV6, Packet, Stop};

use super::{Observer, account::account};
use crate::{
    flows::Counted,
    packet::{Copied, Linear, Skb},
};

/// A stage of the bridge or the overlay device.
pub(super) struct Plain<const STAGE: usize>;

impl<const STAGE: usize> Observer for Plain<STAGE> {
    const STAGE: usize = STAGE;

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
        _ => Ok(()),
    }
}

#[inline(always)]
fn count<A: Counted, P: Packet, const STAGE: usize>(
    skb: Skb,
    packet: &P,
    at: usize,
) -> Result<(), Stop> {
    if A::config().is_used()
        && let Some(inner) = parse::inner::<A, P>(packet, at)?
    {
        account::<A, P, STAGE>(skb, packet, &inner, None);
    }
    Ok(())
}
