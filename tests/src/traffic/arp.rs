//! Gratuitous ARP by a packet socket, as MetalLB's speaker sends it.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use nix::ifaddrs::getifaddrs;

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};
use crate::{inject::Injector, plan::Mac};

const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// Ethernet header and ARP for IPv4, bytes.
const FRAME_LENGTH: usize = 14 + 28;

/// Every attempt is one request and one reply.
pub(super) fn announce(
    device: &str,
    address: Ipv4Addr,
    limits: Limits,
    stop: &Stop,
) -> Result<Counts> {
    let mac = mac_of(device)?;
    let injector = Injector::open(device)?;
    paced(limits, stop, |_| {
        let sent = [REQUEST, REPLY]
            .iter()
            .try_for_each(|operation| injector.send(&frame(*operation, address, mac)));
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
fn frame(operation: u8, address: Ipv4Addr, Mac(mac): Mac) -> [u8; FRAME_LENGTH] {
    let mut frame = [0; FRAME_LENGTH];
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
    for (byte, value) in frame.iter_mut().zip(parts.concat()) {
        *byte = value;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_reply_names_the_address_twice() {
        let frame = frame(REPLY, Ipv4Addr::new(10, 0, 0, 9), Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(frame[12..14], [0x08, 0x06]);
        assert_eq!(frame[20..22], [0, REPLY]);
        assert_eq!(frame[28..32], [10, 0, 0, 9]);
        assert_eq!(frame[38..42], [10, 0, 0, 9]);
        assert_eq!(frame[6..12], frame[22..28]);
    }
}
