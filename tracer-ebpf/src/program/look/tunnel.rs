//! At an uplink.

use tracer_common::{
    config::HAS_VNI,
    sight::{SightKey, SightKind},
    stage::{WIRE_IN, WIRE_OUT},
};
use tracer_ebpf::parse::{Ip, Packet as _, TCP, UDP};

use super::{ANSWER, OPENING, Place, TCP_FLAGS, icmp};
use crate::{
    flows::Counted,
    packet::{Copied, Skb},
    sights::{self, Whose},
};

/// From a UDP header to the source of the inner Ethernet header.
const INNER_SOURCE: usize = 8 + 8 + 6;

/// Ingress.
pub(super) struct Into;

/// Egress.
pub(super) struct Out;

impl Place for Into {
    #[inline(always)]
    fn look<A: Counted>(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
        let ip = A::read(packet, at).ok()?;
        if ip.protocol == UDP && !ip.later_fragment {
            return datagram(skb, packet, &ip);
        }
        let config = A::config();
        let error = icmp::error(skb, packet, &ip)?;
        let quotes_tunnel = error.quoted.protocol == UDP
            && error.port.to_be() == config.vxlan_port()
            && config.is_tunnel_end(error.quoted.source);
        if quotes_tunnel {
            sights::count(skb, WIRE_IN, Whose::Tunnel, error.key, 1);
        } else if config.is_pod(error.quoted.source) || config.is_pod(error.quoted.destination) {
            sights::count(skb, WIRE_IN, Whose::Pods, error.key, 1);
        }
        Some(())
    }
}

impl Place for Out {
    #[inline(always)]
    fn look<A: Counted>(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
        let ip = A::read(packet, at).ok()?;
        if ip.protocol == UDP {
            if !A::is_first_fragment(packet, at)? {
                return None;
            }
            let addresses = [ip.destination, A::ZERO];
            let key = SightKey::new(SightKind::OuterFragment, skb.ifindex(), addresses);
            sights::count(skb, WIRE_OUT, Whose::Tunnel, key, 1);
            return Some(());
        }
        let config = A::config();
        let flags = packet.byte(ip.payload_at + TCP_FLAGS)?;
        let leaves_unmasqueraded = ip.protocol == TCP
            && !ip.later_fragment
            && flags & (OPENING | ANSWER) == OPENING
            && config.is_own_pod(ip.source)
            && !config.is_pod(ip.destination)
            && A::is_unicast(ip.destination);
        if leaves_unmasqueraded {
            let port = u16::from_be(packet.half(ip.payload_at + 2)?);
            let addresses = [ip.source, ip.destination];
            let key = SightKey::new(SightKind::Unmasqueraded, skb.ifindex(), addresses);
            sights::count(skb, WIRE_OUT, Whose::Pods, key.with_port(port), 1);
        }
        Some(())
    }
}

/// A datagram to one of VXLAN's ports, as the kernel looks at it: first the flag of the VNI, then
/// the VNI, then what remains of the header, then the MAC (drivers/net/vxlan/vxlan_core.c,
/// vxlan_rcv, Linux 6.18).
#[inline(always)]
fn datagram<A: Counted>(skb: Skb, packet: &Copied, ip: &Ip<A>) -> Option<()> {
    let config = A::config();
    if !config.is_tunnel_end(ip.destination) {
        return None;
    }
    let port = packet.half(ip.payload_at + 2)?;
    let header = packet.words::<2>(ip.payload_at + 8)?;
    let (flags, vni) = (u32::from_be(header[0]), u32::from_be(header[1]) >> 8);
    let mac_at = ip.payload_at + INNER_SOURCE;
    let key = |kind| SightKey::new(kind, skb.ifindex(), [ip.source, A::ZERO]);
    let key = if port != config.vxlan_port() {
        // Other datagrams than VXLAN are none of ours.
        if header[0] != HAS_VNI || header[1] != (vni << 8).to_be() {
            return None;
        }
        key(SightKind::OtherPort).with_port(u16::from_be(port)).with_number(vni)
    } else if header[0] & HAS_VNI == 0 {
        key(SightKind::BadHeader).with_number(flags)
    } else if vni != config.vni() {
        key(SightKind::OtherVni).with_number(vni)
    } else if config.refuses_header(header) {
        key(SightKind::BadHeader).with_number(flags)
    } else if config.is_own_mac((packet.half(mac_at)?, packet.words::<1>(mac_at + 2)?[0])) {
        key(SightKind::OwnMac)
    } else {
        return None;
    };
    sights::count(skb, WIRE_IN, Whose::Tunnel, key, skb.known_segments());
    Some(())
}
