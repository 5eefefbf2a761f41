//! `peer-node-unreachable-l2`: the node of a peer, in the uplink's own network, answers no ARP or
//! neighbour discovery, so its tunnel packets wait for a MAC and die.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Link, Neighbour, NeighbourState},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "peer-node-unreachable-l2",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// For how long, in seconds, an answer must be awaited. On a link it comes within milliseconds; with
/// steady traffic the kernel asks for 3 s, gives up for as long as no packet comes, and begins anew
/// (net/core/neighbour.c, Linux 6.18), so that the entry is seldom found FAILED.
const PATIENCE: f64 = 0.5;
/// How many packets must be lost before it means something.
const ENOUGH: u64 = 3;

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let judged = case.topology.peers.iter().filter_map(|peer| {
        let node = destination(peer)?;
        let (uplink, entry) = entry(case, node)?;
        is_unanswered(peer, entry).then(|| judged(case, peer, node, uplink, entry))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Where packets of the peer go: the FDB entry's node, with DirectRouting the route's.
fn destination(peer: &Peer<'_>) -> Option<IpAddr> {
    let by_fdb = peer.overlay_route.and(peer.fdb).and_then(|entry| entry.destination);
    by_fdb.or_else(|| peer.direct?.next_hops.iter().find_map(|hop| hop.gateway))
}

/// The neighbour entry for the node on an uplink: there is one when it is on-link.
fn entry<'a>(case: &Case<'a>, node: IpAddr) -> Option<(&'a Link, &'a Neighbour)> {
    case.topology.uplinks.iter().find_map(|uplink| {
        let mut entries = case.topology.tables?.neighbours.iter();
        let entry = entries.find(|it| it.ifindex == uplink.index && it.address == node)?;
        Some((*uplink, entry))
    })
}

/// The kernel gave up, or has been asking longer than an answer takes: by its clock, or because
/// packets of the peer were lost in both halves of the window while it asked.
fn is_unanswered(peer: &Peer<'_>, entry: &Neighbour) -> bool {
    let is_long = entry.updated_age.is_some_and(|age| age >= PATIENCE);
    let loses = peer.traffic.is_some_and(|traffic| {
        let (lost, early) = (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire);
        lost >= ENOUGH && early > 0 && lost > early && traffic.packets.wire_out == 0
    });
    match entry.state {
        NeighbourState::Failed => true,
        NeighbourState::Incomplete => is_long || loses,
        _ => false,
    }
}

fn judged(
    case: &Case<'_>,
    peer: &Peer<'_>,
    node: IpAddr,
    uplink: &Link,
    entry: &Neighbour,
) -> Judged {
    let cidr = peer.cidr;
    let protocol = if node.is_ipv4() { "ARP" } else { "neighbour discovery" };
    let state = format!("{:?}", entry.state).to_uppercase();
    Judged {
        finding: RULE.finding(
            format!("The node of {} does not answer {protocol}", peer.label()),
            case.about_peer(peer),
            case.before_start(),
            vec![
                format!("packets for {cidr} go to {node}, by {}", uplink.name),
                format!("the neighbour entry of {} for {node} is {state}", uplink.name),
            ],
            vec![
                format!("ping -c 3 -I {} {node}      (to see it again)", uplink.name),
                format!(
                    "(the node is off, its link is down, or its address changed: then restart \
                     flannel on {})",
                    peer.short_name()
                ),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoAnswer(cidr)]),
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("{protocol} for {node}"),
    }
}
