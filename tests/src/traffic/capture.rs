//! Somebody listens to everything that passes a machine, as `tcpdump -i any` does.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
};

/// How many packets are read at one beat; the kernel drops the others from the listener's queue.
const AT_ONCE: usize = 1000;

/// Counts a beat as answered when packets were heard since the last one.
pub(super) fn listen(limits: Limits, stop: &Stop) -> Result<Counts> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)
        .context("cannot open a packet socket: run it as root")?;
    let mut socket = File::from(socket);
    paced(limits, stop, |_| {
        let bytes = drain(&mut socket)?;
        Ok(if bytes > 0 { Outcome::Answered { bytes } } else { Outcome::Silence })
    })
}

fn drain(socket: &mut File) -> Result<u64> {
    let (mut packet, mut bytes) = ([0; 2048], 0);
    for _ in 0..AT_ONCE {
        match socket.read(&mut packet) {
            Ok(length) => bytes += length as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // A device that a packet socket hears went down: the others go on.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(error) => return Err(error).context("reading from a packet socket"),
        }
    }
    Ok(bytes)
}
