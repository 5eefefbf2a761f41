//! At the overlay device and the bridge, where the inner packet stands in the clear.

use tracer_common::{
    sight::{SightKey, SightKind},
    stage::{OVERLAY_IN, POD_IN, POD_OUT},
};
use tracer_ebpf::parse::{IPV6, Ip, Packet as _, TCP};

use super::{ANSWER, NEIGHBOUR_ADVERTISEMENT, Place, RESET, TCP_FLAGS, icmp};
use crate::{
    flows::Counted,
    packet::{Copied, Skb},
    sights::{self, Whose},
};

/// Where in an Ethernet header the source stands.
const SOURCE: usize = 6;
/// The beginning of an ARP packet for IPv4 over Ethernet: kind of hardware, protocol, lengths of
/// addresses (RFC 826); then the sender's MAC and address.
const ARP_IPV4: [u32; 1] = [0x0001_0800_u32.to_be()];
const ARP_LENGTHS: u16 = 0x0604_u16.to_be();
const ARP_MAC: usize = 8;
const ARP_ADDRESS: usize = 14;
/// In a neighbour advertisement: the address, and the first option. Of that the type "target
/// link-layer address" with its length, and the MAC behind it (RFC 4861, section 4.6.1).
const TARGET: usize = 8;
const OPTION: usize = 24;
const TARGET_MAC: u16 = 0x0201_u16.to_be();

/// Overlay device, ingress.
pub(super) struct FromTunnel;

/// Bridge, ingress.
pub(super) struct FromPod;

/// Bridge, egress.
pub(super) struct ToPod;

impl Place for FromTunnel {
    #[inline(always)]
    fn look<A: Counted>(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
        let ip = A::read(packet, at).ok()?;
        if skb.is_for_another_mac() {
            let macs = [mac(packet, 0)?, mac(packet, SOURCE)?];
            let key = SightKey::new(SightKind::OtherMac, skb.ifindex(), [ip.source, A::ZERO]);
            let key = key.with_macs(macs);
            sights::count(skb, OVERLAY_IN, Whose::Tunnel, key, skb.known_segments());
            return Some(());
        }
        refusal(skb, OVERLAY_IN, packet, &ip)
    }
}

impl Place for FromPod {
    #[inline(always)]
    fn look<A: Counted>(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
        let ip = A::read(packet, at).ok()?;
        if A::ETHERTYPE == IPV6
            && ip.protocol == A::ICMP
            && packet.byte(ip.payload_at)? == NEIGHBOUR_ADVERTISEMENT
        {
            return advertisement(skb, packet, ip.payload_at);
        }
        refusal(skb, POD_OUT, packet, &ip)
    }

    #[inline(always)]
    fn look_at_arp(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
        if packet.words::<1>(at)? != ARP_IPV4 || packet.half(at + 4)? != ARP_LENGTHS {
            return None;
        }
        let [address] = packet.words::<1>(at + ARP_ADDRESS)?;
        claim::<u32>(skb, address, mac(packet, at + ARP_MAC)?)
    }
}

impl Place for ToPod {
    /// Only of what the node itself says: the rest was seen where it came in.
    #[inline(always)]
    fn look<A: Counted>(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
        let ip = A::read(packet, at).ok()?;
        if A::config().is_own(ip.source) {
            let error = icmp::error(skb, packet, &ip)?;
            sights::count(skb, POD_IN, Whose::Pods, error.key, 1);
        }
        Some(())
    }
}

/// An ICMP error, or a TCP reset that refuses a connection.
#[inline(always)]
fn refusal<A: Counted>(skb: Skb, stage: usize, packet: &Copied, ip: &Ip<A>) -> Option<()> {
    let key = if ip.protocol == TCP {
        refused_connection(skb, packet, ip)?
    } else {
        icmp::error(skb, packet, ip)?.key
    };
    sights::count(skb, stage, Whose::Pods, key, 1);
    Some(())
}

/// A reset that answers the opening of a connection has a sequence number of 0 and acknowledges
/// (RFC 9293, section 3.10.7.1); those that end a connection have its number, and say nothing.
#[inline(always)]
fn refused_connection<A: Counted>(skb: Skb, packet: &Copied, ip: &Ip<A>) -> Option<SightKey> {
    let flags = packet.byte(ip.payload_at + TCP_FLAGS)?;
    let number = packet.words::<1>(ip.payload_at + 4)?;
    if ip.later_fragment || flags & (RESET | ANSWER) != RESET | ANSWER || number != [0] {
        return None;
    }
    let port = u16::from_be(packet.half(ip.payload_at)?);
    let addresses = [ip.source, ip.destination];
    Some(SightKey::new(SightKind::Reset, skb.ifindex(), addresses).with_port(port))
}

/// A neighbour advertisement. One without the option is about its sender.
#[inline(always)]
fn advertisement(skb: Skb, packet: &Copied, at: usize) -> Option<()> {
    let address = packet.words::<4>(at + TARGET)?;
    let has_mac = packet.half(at + OPTION) == Some(TARGET_MAC);
    let mac = mac(packet, if has_mac { at + OPTION + 2 } else { SOURCE })?;
    claim::<[u32; 4]>(skb, address, mac)
}

/// Counts who claims an address of this node's pods.
#[inline(always)]
fn claim<A: Counted>(skb: Skb, address: A, mac: [u16; 3]) -> Option<()> {
    if A::config().is_used() && A::config().is_in_own_network(address) {
        let key = SightKey::new(SightKind::Claim, skb.ifindex(), [address, A::ZERO]);
        let key = key.with_macs([mac, [0; 3]]);
        sights::count(skb, POD_OUT, Whose::Pods, key, 1);
    }
    Some(())
}

#[inline(always)]
fn mac(packet: &Copied, at: usize) -> Option<[u16; 3]> {
    Some([packet.half(at)?, packet.half(at + 2)?, packet.half(at + 4)?])
}
