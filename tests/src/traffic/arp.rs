//! Gratuitous ARP by a packet socket, as MetalLB's speaker sends it.

use std::{
    io,
    mem::size_of,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};
use crate::plan::Mac;

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
    let index = if_nametoindex(device).with_context(|| format!("no device {device}"))?;
    // Protocol 0: the socket sends and hears nothing.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .context("cannot open a packet socket: run it as root")?;
    paced(limits, stop, |_| {
        let sent = [REQUEST, REPLY]
            .iter()
            .try_for_each(|operation| send(&socket, index, &frame(*operation, address, mac)));
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

fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    // SAFETY: the frame and the address live until the call returns, and their lengths are theirs.
    // nix has no constructor for a link-layer address.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
