//! Each drop is counted once, where it happened.

use std::{io::ErrorKind, net::UdpSocket, time::Duration};

use crate::{
    namespace::{Namespace, poll_until},
    node::{
        CLOSED, DEADLINE, Node, UDP_RECEIVE, allowed, assert_named, only, options, quiet, send,
        send_refused,
    },
};

/// Another namespace sends to the node over a veth, and takes it for its gateway:
///
/// ```text
///   sender: s0 10.99.1.2/24, default via 10.99.1.1 ── n0 10.99.1.1/24 :node, forwards
/// ```
const NODE: &str = "
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link add n0 type veth peer name s0 netns SENDER
    ip address add 10.99.1.1/24 dev n0
    ip link set n0 up";
const SENDER: &str = "
    ip address add 10.99.1.2/24 dev s0
    ip link set s0 up
    ip route add default via 10.99.1.1";

#[test]
fn datagrams_to_a_closed_port_are_dropped_where_they_are_received() {
    for variant in allowed() {
        let mut node = Node::new("", options(variant));
        send(&node.namespace, ("127.0.0.1", CLOSED), b"twelve bytes", 37);
        let reading = node.read_when(37);
        let count = only(&reading);
        assert_named(count, &UDP_RECEIVE, "NO_SOCKET", (5, 17));
        assert_eq!((count.at.ifindex(), count.device.as_deref()), (Some(1), Some("lo")));
        assert_eq!((count.packets, count.ethertype), (37, 0x0800));
    }
}

#[test]
fn drops_of_another_namespace_are_counted_together_elsewhere() {
    for variant in allowed() {
        let mut node = Node::new("", options(variant));
        let other = quiet();
        let before = node.read().elsewhere;
        send(&other, ("127.0.0.1", CLOSED), b"", 50);
        send(&node.namespace, ("127.0.0.1", CLOSED), b"", 3);
        let reading = node.read_when(3);
        assert_eq!(only(&reading).packets, 3);
        poll_until("50 packets elsewhere", DEADLINE, || node.read().elsewhere >= before + 50);
    }
}

#[test]
fn a_packet_without_a_device_belongs_to_the_namespace_of_its_socket() {
    let firewall = "
        nft add table ip t
        nft 'add chain ip t out { type filter hook output priority 0; }'
        nft add rule ip t out udp dport 9 drop";
    for variant in allowed() {
        let mut node = Node::new(firewall, options(variant));
        send_refused(&node.namespace, ("127.0.0.1", CLOSED), b"", 21, true);
        let reading = node.read_when(21);
        let count = only(&reading);
        assert_named(count, &["nf_hook_slow", "nft_do_chain"], "NETFILTER_DROP", (5, 18));
        assert_eq!((count.at.ifindex(), count.device.as_deref()), (None, None));
        assert_eq!(count.packets, 21);
    }
}

#[test]
fn packets_without_a_route_are_dropped_at_the_device_that_received_them() {
    for variant in allowed() {
        let (sender, node) = (quiet(), quiet());
        node.shell(&NODE.replace("SENDER", &sender.id.to_string()));
        sender.shell(SENDER);
        wait_connected(&sender);
        let mut node = Node::counting(node, options(variant));
        send(&sender, ("10.77.0.1", CLOSED), b"", 15);
        let reading = node.read_when(15);
        let count = only(&reading);
        assert_named(count, &["ip_error"], "IP_INNOROUTES", (5, 19));
        assert_eq!(count.device.as_deref(), Some("n0"));
    }
}

/// Waits until the node answers: a link that is not up yet drops too.
fn wait_connected(sender: &Namespace) {
    poll_until("an answer of the node", DEADLINE, || {
        sender.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            socket.connect(("10.99.1.1", CLOSED)).unwrap();
            socket.send(b"").unwrap();
            socket.recv(&mut []).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
    });
}
