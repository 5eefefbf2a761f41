//! A flood of DNS queries, as quick as one thread can send them: no query waits for the answer to
//! another. Ports and identifiers are few, and come again.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::{ANSWER_TIMEOUT, Counts, Limits, Stop, dns, udp::connectionless};
use crate::plan::DNS_NAME;

/// Queries between two looks at the answers, and at the time.
const BATCH: u64 = 32;
/// Bytes of answers that may wait: much more than come in one turn of the scheduler.
const ROOM: usize = 8 << 20;

pub(super) fn send(
    server: SocketAddr,
    ports: u16,
    identifiers: u32,
    limits: Limits,
    stop: &Stop,
) -> Result<Counts> {
    let sockets: Vec<UdpSocket> =
        (0..ports.max(1)).map(|_| socket(server)).collect::<Result<_>>()?;
    let mut query = dns::encode(0, DNS_NAME, dns::A);
    let mut counts = Counts::default();
    let end = Instant::now() + Duration::from_secs_f64(limits.seconds);
    let turn = Duration::from_secs_f64(BATCH as f64 / limits.rate);
    let mut next = Instant::now();
    while Instant::now() < end && !stop.before(next) {
        for _ in 0..BATCH {
            let place = counts.sent % sockets.len() as u64;
            let number = counts.sent / sockets.len() as u64 % u64::from(identifiers.max(1));
            #[expect(clippy::cast_possible_truncation, reason = "identifiers start over")]
            query[..2].copy_from_slice(&(number as u16).to_be_bytes());
            match sockets[place as usize].send(&query) {
                Ok(_) => counts.sent += 1,
                // Its own queue is full: what was not sent is sent in the next turn.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => counts.errors += 1,
            }
        }
        counts.answered += sockets.iter().map(hear).sum::<u64>();
        next += turn;
    }
    for socket in &sockets {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        counts.answered += hear(socket);
    }
    Ok(counts)
}

/// Connected, so that what others send is not taken for an answer.
fn socket(server: SocketAddr) -> Result<UdpSocket> {
    let socket = connectionless(server)?;
    socket.connect(server).with_context(|| server.to_string())?;
    setsockopt(&socket, sockopt::RcvBufForce, &ROOM).context("room for answers")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Answers that have come; of a socket that blocks until none comes any more.
fn hear(socket: &UdpSocket) -> u64 {
    let mut answers = 0;
    let mut message = [0; 512];
    loop {
        match socket.recv(&mut message) {
            Ok(length) => answers += u64::from(dns::is_answer(&message[..length])),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return answers,
        }
    }
}
