//! The route to a peer's pod CIDR leads to the bridge of the node's own pods, back to the node, or to
//! another peer, which hands the packets on.

use super::{Fault, PLAIN, Reach, Severity, pair, third};
use crate::{flannel, script::Script};

const MODEL: Fault = Fault {
    name: "pod-route-wrong-device",
    code: "pod-route-wrong-device",
    summary: "the route to a peer's pod CIDR leads to the bridge",
    breaks: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let line = format!("route replace {} dev {}", peer.subnet.of(site.family), victim.bridge);
        vec![Script::ip(&victim.namespace, [line])]
    },
    // IPv6 takes no route over an address to which another device leads
    // (ip6_route_check_nh_onlink() in net/ipv6/route.c, Linux 6.18): that one goes first.
    heals: |plan, site| {
        let (victim, peer) = pair(plan, site);
        let wrong = format!("route del {} dev {}", peer.subnet.of(site.family), victim.bridge);
        vec![Script::ip(&victim.namespace, [wrong, flannel::route(plan, peer, site.family)])]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "pod-route-wrong-device-lo",
        summary: "the route to a peer's pod CIDR leads to lo",
        breaks: |plan, site| {
            let (victim, peer) = pair(plan, site);
            let line = format!("route replace {} dev lo", peer.subnet.of(site.family));
            vec![Script::ip(&victim.namespace, [line])]
        },
        heals: |plan, site| {
            let (victim, peer) = pair(plan, site);
            let wrong = format!("route del {} dev lo", peer.subnet.of(site.family));
            vec![Script::ip(&victim.namespace, [wrong, flannel::route(plan, peer, site.family)])]
        },
        ..MODEL
    },
    Fault {
        name: "pod-route-wrong-device-vtep",
        summary: "the route to a peer's pod CIDR leads to another peer's overlay address",
        severity: Severity::Warning,
        // The node between masquerades what the victim sends: the peer does not know its answers.
        reach: Reach::FromOnePeer,
        nodes: 3,
        breaks: |plan, site| {
            let (victim, peer) = pair(plan, site);
            let line = third(plan, site).map(|third| {
                let (subnet, via) = (peer.end(site.family).subnet, third.end(site.family));
                let (via, overlay) = (via.flannel_ip(), plan.overlay(site.family));
                format!("route replace {subnet} via {via} dev {overlay} onlink")
            });
            vec![Script::ip(&victim.namespace, line)]
        },
        heals: |plan, site| {
            let (victim, peer) = pair(plan, site);
            vec![Script::ip(&victim.namespace, [flannel::route(plan, peer, site.family)])]
        },
        ..MODEL
    },
];
