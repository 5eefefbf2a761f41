//! `underlay-neighbour-wrong-mac`: the uplink sends a peer's tunnel packets to a MAC that its node has
//! not, so that nobody takes the frames, or a machine that has the node's address too.
//!
//! The node's own MAC is that of the frames in which its tunnel packets come. That it differs from the
//! neighbour entry is no fault by itself: a bond sends by several MACs, and what comes by a router has
//! the router's. It is one when nothing of what asks is answered.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    silence::mostly_unanswered,
    underlay::{destination, entry, protocol},
};
use crate::{
    evidence::{Link, MacAddress, Neighbour, NeighbourState, Stage, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "underlay-neighbour-wrong-mac",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// A peer whose frames come from another MAC than they are sent to.
struct Wrong<'c, 'a> {
    peer: &'c Peer<'a>,
    node: IpAddr,
    uplink: &'a Link,
    entry: &'a Neighbour,
    /// What the entry says.
    written: MacAddress,
    /// What frames of the node have.
    seen: MacAddress,
    /// Packets that asked and were not answered.
    lost: u64,
}

fn judge(case: &Case<'_>) -> Ruling {
    if !case.sees_all(Stage::WireIn) {
        return Ruling::default();
    }
    let peers = case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some());
    Ruling::from(
        peers.filter_map(|peer| Some(judged(case, &wrong(case, peer)?))).collect::<Vec<_>>(),
    )
}

fn wrong<'c, 'a>(case: &Case<'a>, peer: &'c Peer<'a>) -> Option<Wrong<'c, 'a>> {
    let node = destination(peer)?;
    let (uplink, entry) = entry(case, node)?;
    let written = entry.mac.filter(|_| entry.state.is_valid())?;
    let traffic = peer.traffic.filter(|it| it.outer_source == Some(node))?;
    // The MAC is that of one of the last packets, whenever it came: so packets must go on coming.
    let comes = traffic.packets.wire_in > traffic.early.wire_in;
    let seen = traffic.outer_source_mac.filter(|mac| comes && *mac != written)?;
    let lost = mostly_unanswered(traffic).filter(|_| traffic.answered == Some(0))?;
    let is_others = is_of_another(case.topology.tables?, uplink, node, seen);
    (!is_others).then_some(Wrong { peer, node, uplink, entry, written, seen, lost })
}

/// Whether the MAC is that of another machine of the link, a router perhaps, or this node's own. The
/// node has addresses of the other IP version and of the link too.
fn is_of_another(tables: &Tables, uplink: &Link, node: IpAddr, mac: MacAddress) -> bool {
    let is_own = tables.links.iter().any(|link| link.mac == Some(mac));
    let hops = || tables.routes.iter().flat_map(|route| &route.next_hops);
    let is_gateway = |address: IpAddr| hops().any(|hop| hop.gateway == Some(address));
    let is_others = |address: IpAddr| {
        let is_of_link = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let is_comparable = address.is_ipv4() == node.is_ipv4() && !is_of_link;
        address != node && (is_comparable || is_gateway(address))
    };
    let neighbours = tables.neighbours.iter().filter(|it| it.ifindex == uplink.index);
    is_own || neighbours.filter(|it| it.mac == Some(mac)).any(|it| is_others(it.address))
}

fn judged(case: &Case<'_>, wrong: &Wrong<'_, '_>) -> Judged {
    let Wrong { peer, node, uplink, written, seen, lost, .. } = wrong;
    let (cidr, device) = (peer.cidr, &uplink.name);
    let seconds = case.evidence.window.seconds;
    let mut finding = RULE.finding(
        format!("{device} sends to {written} for {node}, whose frames come from {seen}"),
        case.about_peer(peer),
        case.after_age(wrong.entry.updated_age),
        vec![
            format!("the neighbour entry of {device} for {node} has the MAC {written}"),
            format!("VXLAN packets from {node} come in frames of {seen}"),
            format!(
                "{lost} packets that left encapsulated for it in {seconds:.1} s asked for an answer, \
                 none was answered"
            ),
        ],
        remedy(wrong),
    );
    if !is_written_by_hand(wrong.entry) {
        // Somebody has answered with that MAC.
        finding.confidence = Confidence::Likely;
    }
    Judged {
        finding,
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("MAC of the node of {cidr}"),
    }
}

/// Nobody is asked whether such an entry is right.
const fn is_written_by_hand(entry: &Neighbour) -> bool {
    matches!(entry.state, NeighbourState::Permanent | NeighbourState::NoArp)
}

fn remedy(Wrong { node, uplink, entry, written, seen, .. }: &Wrong<'_, '_>) -> Vec<String> {
    let device = &uplink.name;
    let delete = format!("ip neigh del {node} dev {device}");
    let protocol = protocol(*node);
    if is_written_by_hand(entry) {
        let why = format!("somebody wrote this entry; without it {protocol} tells the MAC");
        return vec![format!("{delete}      ({why})")];
    }
    vec![
        format!("{delete}      ({protocol} tells the MAC anew)"),
        format!(
            "(if {written} comes back, another machine has {node} too: look for that MAC at the switch. \
             A node with a bond may send by {seen} and have {written} all the same)"
        ),
    ]
}
