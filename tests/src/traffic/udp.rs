//! UDP: datagrams that are echoed, and datagrams that are not.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context as _, Result};

use super::{
    ANSWER_TIMEOUT, Counts, Limits, Stop,
    pace::{Outcome, paced},
};
use crate::family::Family;

/// Payload of an echo request, bytes.
const ECHO_LENGTH: usize = 64;

pub(super) fn echo(to: SocketAddr, limits: Limits, stop: &Stop) -> Result<Counts> {
    let socket = connectionless(to)?;
    paced(limits, stop, |number| {
        let mut payload = [0x75; ECHO_LENGTH];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        if socket.send_to(&payload, to).is_err() {
            return Ok(Outcome::Error);
        }
        Ok(if await_answer(&socket, to, |answer| answer == payload) {
            Outcome::Answered { bytes: ECHO_LENGTH as u64 }
        } else {
            Outcome::Silence
        })
    })
}

pub(super) fn one_way(to: SocketAddr, size: usize, limits: Limits, stop: &Stop) -> Result<Counts> {
    let socket = connectionless(to)?;
    let payload = vec![0x73; size];
    paced(limits, stop, |_| {
        Ok(match socket.send_to(&payload, to) {
            Ok(_) => Outcome::Silence,
            Err(_) => Outcome::Error,
        })
    })
}

pub(super) fn many_flows(
    to: SocketAddr,
    first_port: u16,
    limits: Limits,
    stop: &Stop,
) -> Result<Counts> {
    paced(limits, stop, |number| {
        let port = u16::try_from(u64::from(first_port) + number).context("no port is left")?;
        let socket = UdpSocket::bind((Family::from(to.ip()).unspecified(), port))
            .with_context(|| format!("UDP port {port}"))?;
        Ok(match socket.send_to(&[0x66; 8], to) {
            Ok(_) => Outcome::Silence,
            Err(_) => Outcome::Error,
        })
    })
}

/// Waits at most [`ANSWER_TIMEOUT`] for a datagram of the `server` that `right` accepts; others,
/// such as late answers or those of a translated source, are passed over.
pub(super) fn await_answer(
    socket: &UdpSocket,
    server: SocketAddr,
    right: impl Fn(&[u8]) -> bool,
) -> bool {
    let end = Instant::now() + ANSWER_TIMEOUT;
    let mut buffer = [0; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) if from == server && right(&buffer[..length]) => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {}
        }
    }
}

/// A socket of the family of `to` that is not connected, so that an ICMP error does not make the
/// next send fail.
pub(super) fn connectionless(to: SocketAddr) -> Result<UdpSocket> {
    let any = Family::from(to.ip()).unspecified();
    UdpSocket::bind((any, 0)).context("cannot open a UDP socket")
}
