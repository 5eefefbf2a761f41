//! What MetalLB's speaker sends of an address that it takes, by a packet socket: gratuitous ARP, or
//! unsolicited neighbour advertisements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use nix::ifaddrs::getifaddrs;

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};
use crate::{inject::Injector, plan::Mac, relay::checksum::sum};

const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// All nodes of a link (RFC 4291, 2.7.1), and their MAC (RFC 2464, 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// The number of ICMPv6, with which its pseudo header ends.
const ICMPV6: u8 = 58;

/// Every attempt is one request and one reply, or one advertisement.
pub(super) fn announce(
    device: &str,
    address: IpAddr,
    limits: Limits,
    stop: &Stop,
) -> Result<Counts> {
    let mac = mac_of(device)?;
    let frames = match address {
        IpAddr::V4(address) => vec![arp(REQUEST, address, mac), arp(REPLY, address, mac)],
        IpAddr::V6(address) => vec![advertisement(address, mac)],
    };
    let injector = Injector::open(device)?;
    paced(limits, stop, |_| {
        let sent = frames.iter().try_for_each(|frame| injector.send(frame));
        Ok(if sent.is_ok() { Outcome::Silence } else { Outcome::Error })
    })
}

/// The MAC of a device in the namespace of the calling thread.
fn mac_of(device: &str) -> Result<Mac> {
    getifaddrs()
        .context("cannot list the devices")?
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr()?.addr())
        .map(Mac)
        .with_context(|| format!("no device {device} with a MAC"))
}

/// A gratuitous ARP frame: sender and target address are the announced one.
fn arp(operation: u8, address: Ipv4Addr, Mac(mac): Mac) -> Vec<u8> {
    let parts: [&[u8]; 8] = [
        &BROADCAST,
        &mac,
        // EtherType ARP; Ethernet, IPv4, their address lengths.
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4],
        &[0, operation],
        &mac,
        &address.octets(),
        &BROADCAST,
        &address.octets(),
    ];
    parts.concat()
}

/// An unsolicited neighbour advertisement to all nodes, which overrides what they know (RFC 4861, 4.4).
fn advertisement(target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let source = link_local(mac);
    let icmp = |checksum: [u8; 2]| {
        let option = [&[2, 1][..], &mac.0].concat();
        [&[136, 0][..], &checksum, &[0x20, 0, 0, 0], &target.octets(), &option].concat()
    };
    let length = icmp([0; 2]).len() as u8;
    let addresses = [source.octets(), ALL_NODES.octets()].concat();
    let pseudo = [&addresses[..], &[0, 0, 0, length, 0, 0, 0, ICMPV6], &icmp([0; 2])].concat();
    let checksum = (!sum(&pseudo, 0)).to_be_bytes();
    let parts: [&[u8]; 6] = [
        &ALL_NODES_MAC,
        &mac.0,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, length, ICMPV6],
        // The hop limit that shows that no router passed it on.
        &[255],
        &addresses,
        &icmp(checksum),
    ];
    parts.concat()
}

/// The address that a device with this MAC gives itself (RFC 4291, appendix A).
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Ipv6Addr {
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_reply_names_the_address_twice() {
        let frame = arp(REPLY, Ipv4Addr::new(10, 0, 0, 9), Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(frame[12..14], [0x08, 0x06]);
        assert_eq!(frame[20..22], [0, REPLY]);
        assert_eq!(frame[28..32], [10, 0, 0, 9]);
        assert_eq!(frame[38..42], [10, 0, 0, 9]);
        assert_eq!(frame[6..12], frame[22..28]);
    }

    #[test]
    fn an_advertisement_names_address_and_mac_and_its_checksum_is_right() {
        let (address, mac) =
            ("fd00::9".parse::<Ipv6Addr>().unwrap(), Mac([2, 0x11, 0x22, 0x33, 0x44, 0x55]));
        let frame = advertisement(address, mac);
        let source: Ipv6Addr = "fe80::11:22ff:fe33:4455".parse().unwrap();
        assert_eq!(frame[22..38], source.octets());
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[78..], [2, 1, 2, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let pseudo = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, ICMPV6], &frame[54..]].concat();
        assert_eq!(sum(&pseudo, 0), 0xffff);
    }
}
