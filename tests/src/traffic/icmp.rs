//! ICMP echo by a raw socket, as `ping` of root does it.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
        setsockopt, socket, sockopt,
    },
    time::{TimeVal, TimeValLike as _},
};

use super::{
    ANSWER_TIMEOUT, Counts, Limits, Stop,
    pace::{Outcome, paced},
};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Header and payload of a request, bytes; the payload is as long as that of `ping`.
const REQUEST_LENGTH: usize = 8 + 56;

/// Tells the generators of this process apart, wherever they send from.
static NEXT_IDENTIFIER: AtomicU16 = AtomicU16::new(1);

pub(super) fn ping(to: Ipv4Addr, ttl: u8, limits: Limits, stop: &Stop) -> Result<Counts> {
    let socket =
        socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)
            .context("cannot open a raw socket: run it as root")?;
    setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(ttl)).context("TTL of a raw socket")?;
    let target = SockaddrIn::from(SocketAddrV4::new(to, 0));
    let identifier = NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    paced(limits, stop, |number| {
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers start over")]
        let sequence = number as u16;
        let packet = request(identifier, sequence);
        if sendto(socket.as_raw_fd(), &packet, &target, MsgFlags::empty()).is_err() {
            return Ok(Outcome::Error);
        }
        await_reply(&socket, &packet)
    })
}

/// Reads until the reply to `request` comes or the time is over: the socket hears all ICMP of its
/// namespace.
fn await_reply(socket: &OwnedFd, request: &[u8]) -> Result<Outcome> {
    let end = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Outcome::Silence);
        }
        // A timeout of nought would wait for ever.
        let microseconds = i64::try_from(left.as_micros().max(1)).context("timeout")?;
        setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(microseconds))
            .context("timeout of a raw socket")?;
        let mut buffer = [0; 2048];
        // Silence ends in EAGAIN; an ICMP error of another generator can show up here as well.
        let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) else { continue };
        if answers(&buffer[..length], request) {
            return Ok(Outcome::Answered { bytes: REQUEST_LENGTH as u64 });
        }
    }
}

/// Whether an IPv4 packet holds the reply to a request: same identifier, sequence and payload.
fn answers(packet: &[u8], request: &[u8]) -> bool {
    let Some(first) = packet.first() else { return false };
    let header = usize::from(first & 0x0f) * 4;
    let Some(reply) = packet.get(header..) else { return false };
    reply.first() == Some(&ECHO_REPLY) && reply.get(4..) == request.get(4..)
}

fn request(identifier: u16, sequence: u16) -> [u8; REQUEST_LENGTH] {
    let mut packet = [0x61; REQUEST_LENGTH];
    packet[..4].copy_from_slice(&[ECHO_REQUEST, 0, 0, 0]);
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the loop has folded it into 16 bits")]
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(request: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45; 20];
        packet.extend_from_slice(request);
        packet[20] = ECHO_REPLY;
        packet
    }

    #[test]
    fn the_checksum_of_a_request_is_right() {
        assert_eq!(checksum(&request(7, 9)), 0);
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_the_reply_with_the_same_numbers_answers() {
        let asked = request(7, 9);
        assert!(answers(&reply_to(&asked), &asked));
        assert!(!answers(&reply_to(&request(7, 10)), &asked));
        assert!(!answers(&reply_to(&request(8, 9)), &asked));
        assert!(!answers(&[], &asked));
        assert!(!answers(&[0x4f; 20], &asked));
    }
}
