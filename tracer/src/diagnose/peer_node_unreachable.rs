//! `peer-node-unreachable-l2`: the node of a peer, in the uplink's own network, answers no ARP or
//! neighbour discovery, so its tunnel packets wait for a MAC and die.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    underlay::{Unanswered, destination, protocol, unanswered},
};
use crate::{evidence::Link, topology::Peer};

pub(super) const RULE: Rule = Rule {
    code: "peer-node-unreachable-l2",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let judged = case.topology.peers.iter().filter_map(|peer| {
        let node = destination(peer)?;
        Some(judged(case, peer, node, unanswered(case, peer, node)?))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(
    case: &Case<'_>,
    peer: &Peer<'_>,
    node: IpAddr,
    Unanswered { uplink, entry, is_before }: Unanswered<'_>,
) -> Judged {
    let cidr = peer.cidr;
    let protocol = protocol(node);
    let state = format!("{:?}", entry.state).to_uppercase();
    Judged {
        finding: RULE.finding(
            format!("The node of {} does not answer {protocol}", peer.label()),
            case.about_peer(peer),
            if is_before { case.before_start() } else { case.in_window() },
            vec![
                format!("packets for {cidr} go to {node}, by {}", uplink.name),
                format!("the neighbour entry of {} for {node} is {state}", uplink.name),
            ],
            repair(case, peer, node, uplink),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoAnswer(cidr)]),
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("{protocol} for {node}"),
    }
}

/// The commands to look further; first at the route, where it leads by another device than the tunnel's.
fn repair(case: &Case<'_>, peer: &Peer<'_>, node: IpAddr, uplink: &Link) -> Vec<String> {
    let other = case.topology.tunnel_device().filter(|index| *index != uplink.index);
    let by_other = other.map(|index| {
        let (ip, name) = (remedy::ip(case.topology.family), &uplink.name);
        let (overlay, bound) = (case.overlay_name(), case.name_of(Some(index)));
        [
            format!("{ip} route get {node}      (leads to {name}; {overlay} is bound to {bound})"),
            format!(
                "(if {name} has a network to which nodes belong that are not there: change it)"
            ),
        ]
    });
    let look = [
        format!("ping -c 3 -I {} {node}      (to see it again)", uplink.name),
        format!(
            "(the node is off, its link is down, or its address changed: then restart flannel on {})",
            peer.short_name()
        ),
    ];
    by_other.into_iter().flatten().chain(look).collect()
}
