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
        observe(skb, packet, STAGE)
    }

    #[inline(always)]
    fn copied(skb: Skb, packet: &Copied) -> Result<(), Stop> {
        observe(skb, packet, STAGE)
    }
}

#[inline(always)]
fn observe<P: Packet>(skb: Skb, packet: &P, stage: usize) -> Result<(), Stop> {
    // A bridge in promiscuous mode hands up what it forwards from pod to pod.
    if stage == POD_OUT && skb.is_for_another_host() {
        return Ok(());
    }
    match parse::ethernet(packet, 0)? {
        (IPV4, at) => count::<u32, P>(skb, packet, stage, at),
        (IPV6, at) => count::<[u32; 4], P>(skb, packet, stage, at),
        _ => Ok(()),
    }
}

#[inline(always)]
fn count<A: Counted, P: Packet>(skb: Skb, packet: &P, stage: usize, at: usize) -> Result<(), Stop> {
    if A::config().is_used()
        && let Some(inner) = parse::inner::<A, P>(packet, at)?
    {
        account(skb, packet, stage, &inner, None);
    }
    Ok(())
}
