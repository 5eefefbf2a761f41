//! What a dropped packet's own bytes say.

use core::num::{NonZeroU16, NonZeroU64};

use tracer_common::{
    counter::ParseError,
    drop::{DropFlowKey, Field},
    flow::FlowKey,
};
use tracer_ebpf::parse::{Packet, Stop, Wire, flow, wire};

use crate::{
    memory::{Copied, read},
    pods::Routed,
    structure::{Structure, layout},
};

/// Segments of a packet: 1 unless the kernel holds several in one.
#[inline(always)]
pub(crate) fn segments(skb: Structure) -> u64 {
    let end = u64::from(skb.load::<u32>(Field::SkbEnd));
    let shared = skb.load::<u64>(Field::SkbHead).wrapping_add(end);
    let field = |field| read::<u16>(shared.wrapping_add(layout().offset(field) as u64));
    // A type that cannot be 0: the division is not to have a path that panics.
    let Some(size) = field(Field::SharedSegmentSize).and_then(NonZeroU16::new) else { return 1 };
    match field(Field::SharedSegments) {
        // Virtio and TUN leave the number to us. The headers make it at most one too many.
        None | Some(0) => {
            let size = NonZeroU64::from(size);
            (u64::from(skb.load::<u32>(Field::SkbLength)) + size.get() - 1) / size
        }
        Some(segments) => u64::from(segments),
    }
}

/// An IP version, whose addresses stand where they do whatever follows them.
pub(crate) trait Addressed: Routed {
    /// Source, destination and the number of what comes next; a flow without ports.
    fn addresses(packet: &Copied) -> Option<FlowKey<Self>>;
}

impl Addressed for u32 {
    #[inline(always)]
    fn addresses(packet: &Copied) -> Option<FlowKey<Self>> {
        let [source, destination] = packet.words::<2>(12)?;
        Some(FlowKey::new(source, destination, packet.byte(9)?, 0))
    }
}

impl Addressed for [u32; 4] {
    #[inline(always)]
    fn addresses(packet: &Copied) -> Option<FlowKey<Self>> {
        let (source, destination) = (packet.words::<4>(8)?, packet.words::<4>(24)?);
        Some(FlowKey::new(source, destination, packet.byte(6)?, 0))
    }
}

/// Names the flow of a packet of this IP version; with the carrier's addresses that of the packet
/// inside VXLAN, where it is of the same version and goes to one host. Of a packet with IP options
/// or extension headers only the addresses are told: they are those of multicast groups' reports,
/// and of next to nothing else. False when it has no flow that could be read.
///
/// It writes into a key that is whole already, instead of returning one: what is carried past a
/// decision is tested for twice by the compiler, and old verifiers follow the path on which the
/// two tests disagree.
#[inline(always)]
pub(crate) fn describe<A: Addressed>(skb: Structure, key: &mut DropFlowKey<A>) -> bool {
    let Some(packet) = Copied::of(skb) else { return false };
    match parse(&packet, key) {
        Err(Stop::Layout) => {}
        read => return read.is_ok(),
    }
    let Some(flow) = A::addresses(&packet) else { return false };
    key.set_flow(flow);
    true
}

#[inline(always)]
fn parse<A: Addressed>(packet: &Copied, key: &mut DropFlowKey<A>) -> Result<(), Stop> {
    let outer = match wire::<A, _>(packet, 0, A::config().vxlan_port())? {
        Wire::Plain(ip) | Wire::Datagram(ip, _) => ip,
        Wire::Vxlan(vxlan) => {
            if let Ok(Some(inner)) = vxlan.inner(packet) {
                key.set_flow(inner.key);
                key.set_outer(vxlan.outer.source, vxlan.outer.destination);
                return Ok(());
            }
            vxlan.outer
        }
    };
    key.set_flow(flow(packet, &outer).ok_or(ParseError::TruncatedTransport)?);
    Ok(())
}
