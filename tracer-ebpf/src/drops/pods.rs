//! Whether a packet that another namespace drops is that of a pod of this node.

use tracer_common::drop::{DropFlowKey, Field};

use crate::{
    config::Configured,
    memory::read,
    structure::{Structure, layout},
};

/// RTCF_LOCAL (include/uapi/linux/in_route.h) and RTF_LOCAL (include/uapi/linux/ipv6_route.h), the
/// same number.
const LOCAL: u32 = 0x8000_0000;
/// The lowest bits of `sk_buff._skb_refdst` are flags (include/linux/skbuff.h, up to Linux 7.2).
const FLAGS: u64 = 7;

/// An IP version, whose routes and devices are of types of their own.
pub(crate) trait Routed: Configured + 'static {
    /// Where its routes have their flags.
    const FLAGS: Field;
    /// What leads from a device to its first address.
    const FIRST: [Field; 3];

    /// The first address of a device: a pod's has no other but of its link, which comes last
    /// (net/ipv6/addrconf.c, ipv6_link_dev_addr, Linux 5.10 to 6.18).
    fn first_of(device: Structure) -> Option<Self>;
}

impl Routed for u32 {
    const FLAGS: Field = Field::RouteFlags4;
    const FIRST: [Field; 3] = [Field::DeviceInet4, Field::Inet4First, Field::Inet4Address];

    #[inline(always)]
    fn first_of(device: Structure) -> Option<Self> {
        let first = device.follow(Field::DeviceInet4)?.follow(Field::Inet4First)?;
        Some(first.load(Field::Inet4Address))
    }
}

impl Routed for [u32; 4] {
    const FLAGS: Field = Field::RouteFlags6;
    const FIRST: [Field; 3] = [Field::DeviceInet6, Field::Inet6First, Field::Inet6Link];

    #[inline(always)]
    fn first_of(device: Structure) -> Option<Self> {
        let link = device.follow(Field::DeviceInet6)?.load::<u64>(Field::Inet6First);
        read(link.wrapping_sub(layout().offset(Field::Inet6Link) as u64))
    }
}

/// Whether the packet's local address is a pod's of this node: of what is sent its source, of what
/// is delivered its destination.
///
/// A packet that is received is only counted once its namespace has taken it for its own: what
/// another router on the way to our pods drops is none of ours (several nodes on one kernel are a
/// lab, but a pod may route too). What its own device refuses, as a frame for another MAC, no
/// namespace takes: there the device's address tells whose it was.
#[inline(always)]
pub(crate) fn is_ours<A: Routed>(skb: Structure, key: &DropFlowKey<A>) -> bool {
    let (source, destination) = key.outermost();
    if skb.load::<u32>(Field::SkbReceivedBy) == 0 {
        A::config().is_own_pod(source)
    } else {
        A::config().is_own_pod(destination)
            && (is_delivered::<A>(skb) || is_at_owner(skb, destination))
    }
}

/// Whether the kernel is at the transport header already, or has found a route to itself. UDP
/// lets go of the route before it queues a packet (net/ipv4/udp.c, `udp_queue_rcv_one_skb`, 6.18).
#[inline(always)]
fn is_delivered<A: Routed>(skb: Structure) -> bool {
    let head = skb.load::<u64>(Field::SkbHead);
    let network = head.wrapping_add(u64::from(skb.load::<u16>(Field::SkbNetworkHeader)));
    skb.load::<u64>(Field::SkbData) > network || is_routed_here::<A>(skb)
}

#[inline(always)]
fn is_routed_here<A: Routed>(skb: Structure) -> bool {
    let route = skb.load::<u64>(Field::SkbRoute) & !FLAGS;
    let offset = layout().offset(A::FLAGS);
    if route == 0 || offset == 0 {
        return false;
    }
    read::<u32>(route.wrapping_add(offset as u64)).is_some_and(|flags| flags & LOCAL != 0)
}

/// Whether the device that has the packet has this address.
#[inline(always)]
fn is_at_owner<A: Routed>(skb: Structure, address: A) -> bool {
    // What the kernel lacks the verifier would refuse to look for.
    if A::FIRST.into_iter().any(|field| layout().offset(field) == 0) {
        return false;
    }
    let device = skb.follow_shared(Field::SkbDevice);
    device.and_then(A::first_of).is_some_and(|first| first == address)
}
