//! The programs: ARP and IPv6 neighbour discovery as they pass a device with an Ethernet header.

use aya_ebpf::{EbpfContext as _, macros::classifier, programs::TcContext};
use tracer_common::vip::{IN, OUT, VipAddress, mac_number, mapped};

use crate::{
    counts::{claim, request},
    frame::Frame,
};

/// TC_ACT_UNSPEC and TCX_NEXT alike: the next program in the chain decides.
const NEXT: i32 = -1;

/// EtherTypes as they lie in memory.
const ARP: u32 = 0x0806_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Where the source of an Ethernet header stands, and what follows it.
const ETHERNET_SOURCE: usize = 6;
const PAYLOAD: usize = 14;

/// The beginning of an ARP packet for IPv4 over Ethernet (RFC 826), and the operations.
const ARP_HEAD: [u16; 3] = [1_u16.to_be(), 0x0800_u16.to_be(), 0x0604_u16.to_be()];
const ARP_REQUEST: u16 = 1_u16.to_be();
const ARP_REPLY: u16 = 2_u16.to_be();

/// Of an IPv6 header without extensions: where its next header, with the hop limit behind it, and its
/// source stand, and what follows it; the number of ICMPv6, and the hop limit of what no router has
/// passed on, which alone is neighbour discovery (RFC 4861, 7.1).
const NEXT_HEADER: usize = PAYLOAD + 6;
const SOURCE: usize = PAYLOAD + 8;
const ICMP_AT: usize = PAYLOAD + 40;
const ICMPV6: u8 = 58;
const OF_THIS_LINK: u8 = 255;

/// Neighbour solicitation and advertisement, and where the target, the first option and its MAC stand
/// (RFC 4861, 4.3 and 4.4): the types of the options that carry the sender's, and the target's MAC,
/// each of eight octets.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const TARGET: usize = ICMP_AT + 8;
const OPTION: usize = ICMP_AT + 24;
const SENDER_MAC: u16 = 0x0101_u16.to_be();
const TARGET_MAC: u16 = 0x0201_u16.to_be();
/// The flag that an advertisement answers a solicitation.
const FLAGS: usize = ICMP_AT + 4;
const SOLICITED: u8 = 0x40;

#[classifier]
#[inline(always)]
fn vip_in(context: TcContext) -> i32 {
    look::<IN>(&context);
    NEXT
}

#[classifier]
#[inline(always)]
fn vip_out(context: TcContext) -> i32 {
    look::<OUT>(&context);
    NEXT
}

#[inline(always)]
fn look<const DIRECTION: usize>(context: &TcContext) {
    let frame = Frame(context.as_ptr().cast());
    let _: Option<()> = match frame.protocol() {
        ARP => arp::<DIRECTION>(frame),
        IPV6 => discovery::<DIRECTION>(frame),
        _ => None,
    };
}

#[inline(always)]
fn arp<const DIRECTION: usize>(frame: Frame) -> Option<()> {
    let [a, b, c, operation, m0, m1, m2, s0, s1, _, _, _, t0, t1]: [u16; 14] =
        frame.read(PAYLOAD)?;
    if [a, b, c] != ARP_HEAD || frame.has_vlan() {
        return None;
    }
    let (sender, target) = (word(s0, s1), word(t0, t1));
    let mac = mac_number([m0, m1, m2]);
    let is_gratuitous = sender == target;
    if is_gratuitous || operation == ARP_REPLY {
        claim(DIRECTION, frame.ifindex(), mapped(sender), mac, is_gratuitous);
    } else if operation == ARP_REQUEST {
        request(DIRECTION, mapped(target), mapped(sender), mac);
    }
    Some(())
}

#[inline(always)]
fn discovery<const DIRECTION: usize>(frame: Frame) -> Option<()> {
    if frame.read::<[u8; 2]>(NEXT_HEADER)? != [ICMPV6, OF_THIS_LINK] {
        return None;
    }
    let kind = frame.read::<u8>(ICMP_AT)?;
    if kind != SOLICITATION && kind != ADVERTISEMENT || frame.has_vlan() {
        return None;
    }
    let target: VipAddress = frame.read(TARGET)?;
    if kind == SOLICITATION {
        let sender: VipAddress = frame.read(SOURCE)?;
        request(DIRECTION, target, sender, mac_in_option(frame, SENDER_MAC)?);
    } else {
        let is_gratuitous = frame.read::<u8>(FLAGS)? & SOLICITED == 0;
        let mac = mac_in_option(frame, TARGET_MAC)?;
        claim(DIRECTION, frame.ifindex(), target, mac, is_gratuitous);
    }
    Some(())
}

/// The MAC in the first option; without one the sender's. Both are read on their own: where to read must
/// not depend on the packet, because the verifier takes that only with CAP_PERFMON.
#[inline(always)]
fn mac_in_option(frame: Frame, option: u16) -> Option<u64> {
    let sender = mac_number(frame.read(ETHERNET_SOURCE)?);
    if frame.read::<u16>(OPTION) != Some(option) {
        return Some(sender);
    }
    Some(mac_number(frame.read(OPTION + 2)?))
}

/// Four octets as they lie in memory.
#[inline(always)]
fn word(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}
