//! Drops in other namespaces: those of this node's pods are its own, and no others.

use tracer::kernel::{DropOptions, DropReading, DropVariant};
use tracer_common::config::Network;

use crate::{
    namespace::{Namespace, poll_until},
    node::{CLOSED, DEADLINE, Node, is_confidential, quiet, send, send_refused},
};

/// A node, and another namespace behind a veth: a pod, or a router on the way to one.
///
/// ```text
///   node: cni0 10.244.1.1/24 ── eth0 10.244.1.5/24 :other, default via 10.244.1.1
/// ```
const NODE: &str = "
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link add cni0 type veth peer name eth0 netns OTHER
    ip address add 10.244.1.1/24 dev cni0
    ip link set cni0 up";
const OTHER: &str = "
    ip address add 10.244.1.5/24 dev eth0
    ip link set eth0 up
    ip route add default via 10.244.1.1";
const INPUT: &str = "
    nft add table ip t
    nft 'add chain ip t c { type filter hook input priority 0; }'
    nft add rule ip t c udp dport 9 drop";
const OUTPUT: &str = "
    nft add table ip t
    nft 'add chain ip t c { type filter hook output priority 0; }'
    nft add rule ip t c udp dport 9 drop";
/// The other namespace routes to a pod of the node that is not there, and its firewall is against it.
const FORWARD: &str = "
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link add stub type bridge
    ip address add 10.244.1.129/25 dev stub
    ip link set stub up
    nft add table ip t
    nft 'add chain ip t c { type filter hook forward priority 0; }'
    nft add rule ip t c udp dport 9 drop";

struct Pair {
    node: Node,
    other: Namespace,
}

/// Waits until both answer each other, then counts on the node.
fn pair(lines: &str) -> Pair {
    let (other, node) = (quiet(), quiet());
    node.shell(&NODE.replace("OTHER", &other.id.to_string()));
    other.shell(OTHER);
    poll_until("the pod answers", DEADLINE, || {
        node.run(|| {
            let mut ping = std::process::Command::new("ping");
            ping.args(["-c", "1", "-W", "1", "10.244.1.5"]).output().unwrap().status.success()
        })
    });
    other.shell(lines);
    let mut options = DropOptions { variant: DropVariant::Packets, ..DropOptions::default() };
    options.config.v4.set_tunnel(1, 8472, 1450);
    options.config.v4.add_own_pods(Network::new([10, 244, 1, 0].into(), 24).unwrap());
    options.config.v4.add_node_address([10, 244, 1, 1].into());
    Pair { node: Node::counting(node, options), other }
}

/// Packets in pods of the node, of these flows: protocol UDP, to this address.
fn in_pods(reading: &DropReading, to: [u8; 4]) -> (u64, u32) {
    let pods = reading.places.iter().filter(|it| it.at.is_in_pod());
    let flows = reading.flows.iter().filter(|it| it.at.is_in_pod() && it.flow.protocol == 17);
    let flows = flows.filter(|it| it.flow.destination == std::net::IpAddr::from(to));
    (pods.map(|it| it.packets).sum(), flows.map(|it| it.packets).sum())
}

#[test]
fn a_closed_port_of_a_pod_is_a_drop_in_the_pod() {
    if is_confidential() {
        return;
    }
    let mut pair = pair("");
    send(&pair.node.namespace, ("10.244.1.5", CLOSED), b"", 11);
    let reading = pair.node.read_when(11);
    assert_eq!(in_pods(&reading, [10, 244, 1, 5]), (11, 11), "{reading:#?}");
    assert!(reading.places.iter().all(|it| it.device.is_none()), "{reading:#?}");
}

#[test]
fn what_a_firewall_in_a_pod_drops_of_what_comes_and_goes_is_a_drop_in_the_pod() {
    if is_confidential() {
        return;
    }
    let mut pair = pair(INPUT);
    send(&pair.node.namespace, ("10.244.1.5", CLOSED), b"", 12);
    let reading = pair.node.read_when(12);
    assert_eq!(in_pods(&reading, [10, 244, 1, 5]), (12, 12), "{reading:#?}");
    let mut pair = self::pair(OUTPUT);
    send_refused(&pair.other, ("10.244.1.1", CLOSED), b"", 13, true);
    let reading = pair.node.read_when(13);
    assert_eq!(in_pods(&reading, [10, 244, 1, 1]), (13, 13), "{reading:#?}");
}

#[test]
fn what_another_router_drops_on_the_way_to_a_pod_is_not_the_nodes() {
    if is_confidential() {
        return;
    }
    let mut pair = pair(FORWARD);
    pair.node.namespace.shell("ip route add 10.244.1.128/25 via 10.244.1.5");
    let before = pair.node.read().elsewhere;
    send(&pair.node.namespace, ("10.244.1.200", CLOSED), b"", 14);
    poll_until("14 packets elsewhere", DEADLINE, || pair.node.read().elsewhere >= before + 14);
    let reading = pair.node.read();
    assert_eq!((in_pods(&reading, [10, 244, 1, 200]), reading.places), ((0, 0), vec![]));
}
