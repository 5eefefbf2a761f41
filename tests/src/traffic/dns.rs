//! DNS queries over UDP, from a new port each time, as a resolver library sends them.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Result;

use super::{
    Counts, Limits, Stop,
    pace::{Outcome, paced},
    udp::{await_answer, connectionless},
};

const HEADER_LENGTH: usize = 12;
/// Record types (RFC 1035, RFC 3596).
pub(super) const A: u8 = 1;
const AAAA: u8 = 28;

pub(super) fn query(server: SocketAddr, name: &str, limits: Limits, stop: &Stop) -> Result<Counts> {
    paced(limits, stop, |number| Ok(ask(&connectionless(server)?, number, server, name)))
}

pub(super) fn query_from_one_port(
    server: SocketAddr,
    name: &str,
    limits: Limits,
    stop: &Stop,
) -> Result<Counts> {
    let socket = connectionless(server)?;
    paced(limits, stop, |number| Ok(ask(&socket, number, server, name)))
}

fn ask(socket: &UdpSocket, number: u64, server: SocketAddr, name: &str) -> Outcome {
    let kind = if server.is_ipv4() { A } else { AAAA };
    #[expect(clippy::cast_possible_truncation, reason = "identifiers start over")]
    let query = encode(number as u16, name, kind);
    // Connected, so that only answers from the address asked for count.
    if socket.connect(server).and_then(|()| socket.send(&query)).is_err() {
        return Outcome::Error;
    }
    if await_answer(socket, server, |answer| answers(answer, &query)) {
        Outcome::Answered { bytes: 0 }
    } else {
        Outcome::Silence
    }
}

/// A query for a record with recursion desired (RFC 1035).
pub(super) fn encode(identifier: u16, name: &str, kind: u8) -> Vec<u8> {
    let mut query = Vec::from(identifier.to_be_bytes());
    query.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        query.extend(u8::try_from(label.len()));
        query.extend(label);
    }
    query.extend([0, 0, kind, 0, 1]);
    query
}

/// Whether a message answers the query without an error.
fn answers(message: &[u8], query: &[u8]) -> bool {
    is_answer(message) && message[..2] == query[..2] && message[3] & 0x0f == 0
}

/// Whether a message is the answer to any query.
pub(super) fn is_answer(message: &[u8]) -> bool {
    message.len() >= HEADER_LENGTH && message[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded_as_rfc_1035_says() {
        let expected = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";
        assert_eq!(encode(0x1234, "a.bc.", A), expected);
    }

    #[test]
    fn only_an_answer_without_error_to_the_same_query_counts() {
        let query = encode(7, "a", AAAA);
        let mut answer = query.clone();
        assert!(!answers(&answer, &query));
        answer[2] |= 0x80;
        assert!(answers(&answer, &query));
        answer[3] |= 2;
        assert!(!answers(&answer, &query));
        assert!(!answers(&answer[..4], &query));
    }
}
