//! UDP sockets of this namespace, those of the kernel's own tunnels among them.

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_sock_diag::{
    constants::{AF_INET, AF_INET6, INET_DIAG_SKV6ONLY, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::{
    attributes::find,
    socket::{NetlinkError, Socket},
};
use crate::evidence::UdpSocket;

/// The sockets bound to a port, of IPv4 and IPv6.
///
/// # Errors
/// When netlink cannot be used, or the kernel has no udp_diag.
pub(super) fn on_port(port: u16) -> Result<Vec<UdpSocket>, NetlinkError> {
    let mut socket = Socket::open(NETLINK_SOCK_DIAG)?;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let messages = socket.dump(SOCK_DIAG_BY_FAMILY, &request(family, port))?;
        found.extend(messages.iter().filter_map(|message| decode(&message.body)));
    }
    found.retain(|it| it.port == port);
    Ok(found)
}

fn request(family: u8, port: u16) -> InetRequest {
    let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    InetRequest {
        family,
        protocol: IPPROTO_UDP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId { source_port: port, ..any },
    }
}

/// A socket from a struct inet_diag_msg and its attributes.
fn decode(body: &[u8]) -> Option<UdpSocket> {
    let header = InetResponseHeader::parse(body).ok()?;
    let attributes = body.get(header.buffer_len()..)?;
    let v6_only = find(attributes, INET_DIAG_SKV6ONLY).and_then(|value| value.first());
    Some(UdpSocket {
        address: header.socket_id.source_address,
        port: header.socket_id.source_port,
        v6_only: v6_only.is_some_and(|only| *only != 0),
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Std;

    use netlink_packet_core::Emitable as _;

    use super::*;

    /// The answer for a socket bound to an address, with one attribute.
    fn message(family: u8, port: u16, attribute: &[u8]) -> Vec<u8> {
        let header = InetResponseHeader {
            family,
            state: 7,
            timer: None,
            socket_id: request(family, port).socket_id,
            recv_queue: 0,
            send_queue: 0,
            uid: 0,
            inode: 0,
        };
        let mut body = vec![0; header.buffer_len()];
        header.emit(&mut body);
        body.extend(attribute);
        body
    }

    #[test]
    fn whether_a_socket_takes_ipv4_too_is_read() {
        let only = [5, 0, INET_DIAG_SKV6ONLY as u8, 0, 1, 0, 0, 0];
        let both = [5, 0, INET_DIAG_SKV6ONLY as u8, 0, 0, 0, 0, 0];
        let v6_only =
            |attribute: &[u8]| decode(&message(AF_INET6, 8472, attribute)).unwrap().v6_only;
        assert!(v6_only(&only) && !v6_only(&both) && !v6_only(&[]));
        let ipv4 = decode(&message(AF_INET, 8472, &[])).unwrap();
        assert_eq!((ipv4.address.to_string().as_str(), ipv4.port), ("0.0.0.0", 8472));
    }

    #[test]
    fn a_truncated_message_is_no_socket_and_no_panic() {
        let whole = message(AF_INET6, 8472, &[]);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_socket_of_this_process_is_found_by_its_port() {
        let bound = Std::bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        // A kernel without udp_diag cannot be asked.
        let Ok(found) = on_port(address.port()) else { return };
        let expected = UdpSocket { address: address.ip(), port: address.port(), v6_only: false };
        assert_eq!(found, [expected]);
    }
}
