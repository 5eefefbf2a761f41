//! IPv6 multicast of a device's own, as systemd-resolved or avahi send on every interface.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};

/// Multicast DNS (RFC 6762).
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;

pub(super) fn send(device: &str, limits: Limits, stop: &Stop) -> Result<Counts> {
    let index = if_nametoindex(device).with_context(|| format!("no device {device}"))?;
    let socket =
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).context("cannot open an IPv6 socket")?;
    let target = SocketAddrV6::new(GROUP, PORT, 0, index);
    paced(limits, stop, |_| {
        Ok(match socket.send_to(b"who is there", target) {
            Ok(_) => Outcome::Silence,
            Err(_) => Outcome::Error,
        })
    })
}
