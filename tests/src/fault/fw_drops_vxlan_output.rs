//! A firewall of the node drops the tunnel's packets that leave: to one peer, or to all.

use super::{Fault, PLAIN, Reach, Subject, filter::Chain, pair};
use crate::plan::Family;

pub(super) const FAULTS: [Fault; 2] = [
    Fault {
        name: "fw-drops-vxlan-output",
        code: "fw-drops-vxlan-output",
        summary: "a firewall drops the tunnel's packets to a peer in the hook output",
        by_drops: true,
        breaks: |plan, site| {
            let (_, peer) = pair(plan, site);
            let (version, to) = (site.family.word(), peer.ip.of(site.family));
            let matches = format!("{version} daddr {to} udp dport {}", plan.port);
            Chain::inet("output").drops(plan, site, &matches)
        },
        heals: |plan, site| Chain::inet("output").heals(plan, site),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-vxlan-output-postrouting",
        code: "fw-drops-vxlan-output",
        summary: "a firewall drops the tunnel's packets to all peers in the hook postrouting",
        subject: Subject::Overlay,
        reach: Reach::AllPeers,
        // Of one peer alone it is told as that peer's.
        nodes: 3,
        by_drops: true,
        breaks: |plan, site| {
            let version = match site.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            };
            let matches = format!("meta nfproto {version} udp dport {}", plan.port);
            Chain::inet("postrouting").drops(plan, site, &matches)
        },
        heals: |plan, site| Chain::inet("postrouting").heals(plan, site),
        ..PLAIN
    },
];
