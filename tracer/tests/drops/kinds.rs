//! What the packets' own headers say, where they may be read.

use std::os::fd::AsRawFd as _;

use tracer::kernel::{DropKind, DropOptions, DropVariant};

use crate::node::{CLOSED, Node, allowed, kernel, only, send};

const IPV4: u16 = 0x0800;
const TCP: u8 = 6;
const UDP: u8 = 17;

fn kind(variant: DropVariant, inner: Option<(u8, u8)>) -> DropKind {
    match variant {
        DropVariant::Packets => DropKind { ethertype: IPV4, protocol: Some(UDP), inner },
        DropVariant::Places => DropKind { ethertype: IPV4, protocol: None, inner: None },
    }
}

/// A VXLAN payload: the header with its flag and VNI 1, Ethernet for IPv4, an IPv4 header for TCP.
fn encapsulated() -> Vec<u8> {
    let mut bytes = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    bytes.extend(IPV4.to_be_bytes());
    bytes.extend([0x45, 0, 0, 20, 0, 0, 0, 0, 64, TCP, 0, 0, 10, 244, 1, 2, 10, 244, 2, 3]);
    bytes
}

#[test]
fn the_packet_inside_vxlan_is_told_from_its_carrier() {
    for variant in allowed() {
        let options = DropOptions { variant, vxlan_port: Some(CLOSED), ..DropOptions::default() };
        let mut node = Node::new("", options);
        send(&node.namespace, ("127.0.0.1", CLOSED), &encapsulated(), 8);
        // Another port, and a payload that is none.
        send(&node.namespace, ("127.0.0.1", CLOSED + 1), &encapsulated(), 4);
        send(&node.namespace, ("127.0.0.1", CLOSED), &[0; 60], 2);
        let reading = node.read_when(14);
        let mut expected = match variant {
            DropVariant::Packets => {
                vec![(kind(variant, None), 6), (kind(variant, Some((4, TCP))), 8)]
            }
            DropVariant::Places => vec![(kind(variant, None), 14)],
        };
        expected.sort_unstable();
        assert_eq!(only(&reading).kinds, expected);
    }
}

#[test]
fn a_packet_of_many_segments_counts_as_many_where_they_can_be_read() {
    for variant in allowed() {
        let mut node = Node::new("", DropOptions { variant, ..DropOptions::default() });
        node.namespace.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            segment(&socket, 100);
            assert_eq!(socket.send_to(&[7; 950], ("127.0.0.1", CLOSED)).unwrap(), 950);
        });
        let segments = match variant {
            DropVariant::Packets => 10,
            // The loopback takes UDP of many segments since 5.11 (NETIF_F_GSO_SOFTWARE,
            // include/linux/netdev_features.h); before, they are cut on their way to it.
            DropVariant::Places if kernel() < (5, 11) => 10,
            DropVariant::Places => 1,
        };
        let reading = node.read_when(segments);
        assert_eq!(only(&reading).kinds, [(kind(variant, None), segments)]);
    }
}

/// Has the kernel cut what is sent into datagrams of this size, as late as it can.
fn segment(socket: &std::net::UdpSocket, size: i32) {
    // SAFETY: the option takes an int, whose address and size these are.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
}
