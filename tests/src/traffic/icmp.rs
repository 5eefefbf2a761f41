//! ICMP echo by a raw socket, as `ping` of root does it.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
        setsockopt, socket, sockopt,
    },
    time::{TimeVal, TimeValLike as _},
};

use super::{
    ANSWER_TIMEOUT, Counts, Limits, Stop,
    pace::{Outcome, paced},
};
use crate::family::{Both, Family};

/// The types of an echo request and its reply, in ICMP and in ICMPv6.
const ECHO: Both<[u8; 2]> = Both { v4: [8, 0], v6: [128, 129] };
/// Header and payload of a request, bytes; the payload is as long as that of `ping`.
const REQUEST_LENGTH: usize = 8 + 56;

/// Tells the generators of this process apart, wherever they send from.
static NEXT_IDENTIFIER: AtomicU16 = AtomicU16::new(1);

pub(super) fn ping(to: IpAddr, ttl: u8, limits: Limits, stop: &Stop) -> Result<Counts> {
    let socket = open(to, ttl).context("cannot open a raw socket: run it as root")?;
    let target = SockaddrStorage::from(SocketAddr::new(to, 0));
    let identifier = NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    paced(limits, stop, |number| {
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers start over")]
        let sequence = number as u16;
        let packet = request(to.into(), identifier, sequence);
        if sendto(socket.as_raw_fd(), &packet, &target, MsgFlags::empty()).is_err() {
            return Ok(Outcome::Error);
        }
        await_reply(&socket, to.into(), &packet)
    })
}

fn open(to: IpAddr, ttl: u8) -> nix::Result<OwnedFd> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    match to {
        IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(ttl))?,
        IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6Ttl, &i32::from(ttl))?,
    }
    Ok(socket)
}

/// Reads until the reply to `request` comes or the time is over: the socket hears all ICMP of its
/// namespace.
fn await_reply(socket: &OwnedFd, family: Family, request: &[u8]) -> Result<Outcome> {
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
        if answers(family, &buffer[..length], request) {
            return Ok(Outcome::Answered { bytes: REQUEST_LENGTH as u64 });
        }
    }
}

/// Whether what a raw socket heard holds the reply to a request: same identifier, sequence and
/// payload. A socket of IPv4 hears the IP header too (raw(7)), one of IPv6 does not.
fn answers(family: Family, heard: &[u8], request: &[u8]) -> bool {
    let Some(first) = heard.first() else { return false };
    let (header, type_of_reply) = match family {
        Family::V4 => (usize::from(first & 0x0f) * 4, ECHO.v4[1]),
        Family::V6 => (0, ECHO.v6[1]),
    };
    let Some(reply) = heard.get(header..) else { return false };
    reply.first() == Some(&type_of_reply) && reply.get(4..) == request.get(4..)
}

/// The kernel writes the checksum of ICMPv6, which holds the addresses.
fn request(family: Family, identifier: u16, sequence: u16) -> [u8; REQUEST_LENGTH] {
    let type_of_request = match family {
        Family::V4 => ECHO.v4[0],
        Family::V6 => ECHO.v6[0],
    };
    let mut packet = [0x61; REQUEST_LENGTH];
    packet[..4].copy_from_slice(&[type_of_request, 0, 0, 0]);
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

    fn reply_to(family: Family, request: &[u8]) -> Vec<u8> {
        let mut heard = match family {
            Family::V4 => vec![0x45; 20],
            Family::V6 => Vec::new(),
        };
        let header = heard.len();
        heard.extend_from_slice(request);
        heard[header] = if family == Family::V4 { 0 } else { 129 };
        heard
    }

    #[test]
    fn the_checksum_of_a_request_is_right() {
        assert_eq!(checksum(&request(Family::V4, 7, 9)), 0);
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_the_reply_with_the_same_numbers_answers() {
        for family in [Family::V4, Family::V6] {
            let asked = request(family, 7, 9);
            let is_answer = |heard: &[u8]| answers(family, heard, &asked);
            assert!(is_answer(&reply_to(family, &asked)));
            assert!(!is_answer(&reply_to(family, &request(family, 7, 10))));
            assert!(!is_answer(&reply_to(family, &request(family, 8, 9))));
            assert!(!is_answer(&[]));
            assert!(!is_answer(&[0x4f; 20]));
            assert!(!is_answer(&asked), "a request is no reply");
        }
    }
}
