//! UDP datagrams from addresses that are nobody's, each from another.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};

/// Where they come from: a part of the addresses that carriers share (RFC 6598).
pub const NETWORK: &str = "100.64.0.0/12";
const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 0]);
/// Addresses in it.
const MOST: u64 = 1 << 20;
/// Odd, and so it gives every address once before any comes again.
const STEP: u64 = 0x9_e377;

const LENGTH: usize = 20 + 8;
const TTL: u8 = 64;
const UDP: u8 = 17;
const FIRST_PORT: u64 = 1024;
const PORTS: u64 = 60_000;

pub(super) fn send(to: SocketAddrV4, limits: Limits, stop: &Stop) -> Result<Counts> {
    ensure!(
        limits.count.is_some_and(|count| count <= MOST),
        "not more than {MOST} have an address"
    );
    let flags = SockFlag::SOCK_CLOEXEC;
    // A socket that takes whole packets; the kernel fills in length and checksum (raw(7)).
    let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
        .context("cannot open a raw socket: run it as root")?;
    let address = SockaddrIn::from(to);
    paced(limits, stop, |number| {
        let packet = packet(number, to);
        Ok(match sendto(socket.as_raw_fd(), &packet, &address, MsgFlags::empty()) {
            Ok(_) => Outcome::Silence,
            Err(_) => Outcome::Error,
        })
    })
}

fn source(number: u64) -> (Ipv4Addr, u16) {
    let mixed = number.wrapping_mul(STEP) % MOST;
    // Both are below 2^32 and 2^16.
    let (address, port) = (FIRST + mixed as u32, (FIRST_PORT + mixed % PORTS) as u16);
    (address.into(), port)
}

fn packet(number: u64, to: SocketAddrV4) -> [u8; LENGTH] {
    let (address, port) = source(number);
    let mut packet = [0; LENGTH];
    packet[0] = 0x45;
    packet[8] = TTL;
    packet[9] = UDP;
    packet[12..16].copy_from_slice(&address.octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..26].copy_from_slice(&8_u16.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ipnet::Ipv4Net;

    use super::*;

    #[test]
    fn each_has_another_address_of_the_network() {
        let network: Ipv4Net = NETWORK.parse().unwrap();
        let sources: HashSet<Ipv4Addr> = (0..MOST).map(|number| source(number).0).collect();
        assert_eq!(sources.len() as u64, MOST);
        assert!(sources.iter().all(|it| network.contains(it)));
    }
}
