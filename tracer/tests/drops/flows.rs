//! Whose packets are dropped, where their own headers may be read.

use std::{
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use tracer::{
    evidence::{DropFlow, DropOuter},
    kernel::{DropFlowReading, DropOptions, DropVariant},
};

use crate::node::{
    CLOSED, Node, allowed, is_confidential, kernel, only, options, quiet, send, send_refused,
    tunnel,
};

const UDP: u8 = 17;
const TCP: u8 = 6;

/// A VXLAN payload: the header with its flag and VNI 1, Ethernet, an IP header for TCP, and ports.
fn encapsulated(is_ipv6: bool) -> Vec<u8> {
    let mut bytes = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    if is_ipv6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, TCP, 64]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    } else {
        bytes.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, TCP, 0, 0]);
        bytes.extend([10, 244, 1, 2, 10, 244, 2, 3]);
    }
    bytes.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 0]);
    bytes
}

fn inner(is_ipv6: bool) -> DropFlow {
    let (source, destination) = match is_ipv6 {
        true => ("fd00:0:0:1::2", "fd00:0:0:2::3"),
        false => ("10.244.1.2", "10.244.2.3"),
    };
    flow(source, destination, TCP, (8080, 80))
}

fn flow(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> DropFlow {
    let [source, destination] = [source, destination].map(|it| it.parse().unwrap());
    DropFlow { source, destination, protocol, source_port: ports.0, destination_port: ports.1 }
}

fn outer(source: &str, destination: &str) -> DropOuter {
    let [source, destination] = [source, destination].map(|it| it.parse().unwrap());
    DropOuter { source, destination }
}

/// The only flow of a reading, without the port that the kernel chose.
fn only_flow(flows: &[DropFlowReading]) -> DropFlowReading {
    assert_eq!(flows.len(), 1, "{flows:#?}");
    flows[0]
}

#[test]
fn the_packet_inside_vxlan_is_told_with_its_carrier() {
    for variant in allowed() {
        let mut node = Node::new("", tunnel(variant, CLOSED));
        send(&node.namespace, ("127.0.0.1", CLOSED), &encapsulated(false), 8);
        // Another port, and a payload that is none.
        send(&node.namespace, ("127.0.0.1", CLOSED + 1), &encapsulated(false), 4);
        send(&node.namespace, ("127.0.0.1", CLOSED), &[0; 60], 2);
        let reading = node.read_when(14);
        assert_eq!(only(&reading).packets, 14);
        if variant == DropVariant::Places {
            assert_eq!(reading.flows, []);
            continue;
        }
        let mut flows = reading.flows;
        flows.sort_by_key(|flow| (flow.outer, flow.flow.destination_port));
        let packets: Vec<u32> = flows.iter().map(|flow| flow.packets).collect();
        // What is no VXLAN at the tunnel's port has no flow: it cannot be read as one.
        assert_eq!(packets, [4, 8], "{flows:#?}");
        assert_eq!((flows[0].flow.destination_port, flows[0].outer), (CLOSED + 1, None));
        assert_eq!(flows[1].flow, inner(false));
        assert_eq!(flows[1].outer, Some(outer("127.0.0.1", "127.0.0.1")));
    }
}

#[test]
fn ipv6_in_ipv6_is_peeled_too() {
    if is_confidential() {
        return;
    }
    let lines = "
        echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6
        ip -6 address replace ::1/128 dev lo
        ip -6 route replace local ::1 dev lo";
    let mut node = Node::new(lines, tunnel(DropVariant::Packets, CLOSED));
    node.namespace.run(|| {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        for _ in 0..9 {
            socket.send_to(&encapsulated(true), ("::1", CLOSED)).unwrap();
        }
    });
    let reading = node.read_when_besides("icmpv6_rcv", 9);
    let is_tunnels = |it: &&DropFlowReading| it.outer.is_some();
    let flows: Vec<DropFlowReading> = reading.flows.iter().filter(is_tunnels).copied().collect();
    let flow = only_flow(&flows);
    assert_eq!((flow.packets, flow.flow, flow.ethertype), (9, inner(true), 0x86dd));
    assert_eq!(flow.outer, Some(outer("::1", "::1")));
}

#[test]
fn a_packet_of_many_segments_counts_as_many_where_they_can_be_read() {
    for variant in allowed() {
        let mut node = Node::new("", options(variant));
        node.namespace.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
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
        assert_eq!((only(&reading).ethertype, only(&reading).packets), (0x0800, segments));
        if variant == DropVariant::Packets {
            assert_eq!(only_flow(&reading.flows).packets, 10);
        }
    }
}

/// Has the kernel cut what is sent into datagrams of this size, as late as it can.
fn segment(socket: &UdpSocket, size: i32) {
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

/// A tunnel over a veth, whose other end is in a namespace that nobody listens in:
///
/// ```text
///   pods 10.244.1.0/24: flannel.1 ── n0 10.99.1.1/24 ══ s0 10.99.1.2/24 :another node, 10.244.2.0/24
/// ```
const TUNNEL: &str = "
    ip link add n0 type veth peer name s0 netns OTHER
    ip address add 10.99.1.1/24 dev n0
    ip link set n0 up
    ip neighbour replace 10.99.1.2 lladdr 02:00:00:00:00:99 dev n0 nud permanent
    ip link add flannel.1 type vxlan id 1 local 10.99.1.1 dstport 8472 nolearning
    ip address add 10.244.1.0/32 dev flannel.1
    ip link set flannel.1 up
    ip neighbour replace 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
    ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink";

fn tunnelling(lines: &str, variant: DropVariant) -> (Node, crate::namespace::Namespace) {
    let (other, namespace) = (quiet(), quiet());
    namespace.shell(&TUNNEL.replace("OTHER", &other.id.to_string()));
    other.shell("ip link set s0 up");
    namespace.shell(lines);
    (Node::counting(namespace, tunnel(variant, 8472)), other)
}

#[test]
fn a_packet_to_an_unknown_vtep_is_dropped_at_flannels_device() {
    for variant in allowed() {
        let (mut node, _other) = tunnelling("", variant);
        send(&node.namespace, ("10.244.2.3", 4000), b"question", 12);
        let reading = node.read_when(12);
        let place = only(&reading);
        assert_eq!(place.device.as_deref(), Some("flannel.1"));
        assert_eq!(place.symbol.as_deref(), Some("vxlan_xmit"));
        if variant == DropVariant::Packets {
            let seen = only_flow(&reading.flows);
            let ports = (seen.flow.source_port, 4000);
            assert_eq!(seen.flow, flow("10.244.1.0", "10.244.2.3", UDP, ports));
            assert_eq!((seen.packets, seen.outer), (12, None));
        }
    }
}

#[test]
fn a_carrier_that_a_firewall_drops_is_peeled() {
    let lines = "
        bridge fdb append 02:00:00:00:00:02 dev flannel.1 dst 10.99.1.2
        nft add table ip t
        nft 'add chain ip t out { type filter hook output priority 0; }'
        nft add rule ip t out udp dport 8472 drop";
    for variant in allowed() {
        let (mut node, _other) = tunnelling(lines, variant);
        send(&node.namespace, ("10.244.2.3", 4000), b"question", 13);
        let reading = node.read_when(13);
        assert_eq!(reading.places.iter().map(|it| it.packets).sum::<u64>(), 13);
        if variant == DropVariant::Packets {
            let seen = only_flow(&reading.flows);
            let ports = (seen.flow.source_port, 4000);
            assert_eq!(seen.flow, flow("10.244.1.0", "10.244.2.3", UDP, ports));
            assert_eq!((seen.packets, seen.outer), (13, Some(outer("10.99.1.1", "10.99.1.2"))));
        }
    }
}

#[test]
fn an_icmp_message_has_its_type_and_identifier_for_ports() {
    if is_confidential() {
        return;
    }
    let firewall = "
        nft add table ip t
        nft 'add chain ip t in { type filter hook input priority 0; }'
        nft add rule ip t in icmp type echo-request drop";
    let mut node = Node::new(firewall, DropOptions::default());
    node.namespace.shell("ping -c 3 -i 0.01 -W 1 127.0.0.1 || true");
    let reading = node.read_when(3);
    let seen = only_flow(&reading.flows);
    assert_eq!((seen.flow.protocol, seen.flow.source_port, seen.packets), (1, 8, 3));
    assert_ne!(seen.flow.destination_port, 0);
    assert_eq!(seen.flow.source, IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn refused_datagrams_have_a_flow_though_they_have_no_device() {
    if is_confidential() {
        return;
    }
    let firewall = "
        nft add table ip t
        nft 'add chain ip t out { type filter hook output priority 0; }'
        nft add rule ip t out udp dport 9 drop";
    let mut node = Node::new(firewall, DropOptions::default());
    send_refused(&node.namespace, ("127.0.0.1", CLOSED), b"", 21, true);
    let seen = only_flow(&node.read_when(21).flows);
    let ports = (seen.flow.source_port, CLOSED);
    assert_eq!(seen.flow, flow("127.0.0.1", "127.0.0.1", UDP, ports));
}
