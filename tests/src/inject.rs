//! Frames put onto a device as they are, by a packet socket: what no other socket would send.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::netns;

/// Sends frames by one device of the namespace in which it was opened.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    ifindex: i32,
}

/// Sends whole Ethernet frames, one after the other, by a device of a namespace.
///
/// # Errors
/// When there is no such device, or it refuses a frame.
pub fn frames(namespace: &str, device: &str, frames: &[Vec<u8>]) -> Result<()> {
    netns::run_in(namespace, || {
        let injector = Injector::open(device)?;
        frames.iter().try_for_each(|frame| {
            injector
                .send(frame)
                .with_context(|| format!("a frame of {} bytes by {device}", frame.len()))
        })
    })
}

// === impl Injector ===

impl Injector {
    /// A socket for `device` of the calling thread's namespace.
    ///
    /// # Errors
    /// When there is no such device; without root.
    pub fn open(device: &str) -> Result<Self> {
        let index = if_nametoindex(device).with_context(|| format!("no device {device}"))?;
        let ifindex = i32::try_from(index).context("device number")?;
        // Protocol 0: the socket sends and hears nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .context("cannot open a packet socket: run it as root")?;
        Ok(Self { socket, ifindex })
    }

    /// Sends a frame with its Ethernet header.
    ///
    /// # Errors
    /// Those of sendto(2).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: self.ifindex,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        };
        // SAFETY: the frame and the address live until the call returns, and their lengths are
        // theirs. nix has no constructor for a link-layer address.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
