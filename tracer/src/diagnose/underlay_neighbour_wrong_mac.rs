//! `underlay-neighbour-wrong-mac`: the uplink sends a peer's tunnel packets to a MAC that its node has
//! not, so that nobody takes the frames, or a machine that has the node's address too.
//!
//! The node's own MAC is that of the frames in which its tunnel packets come. That it differs from the
//! neighbour entry is no fault by itself: a bond sends by several MACs, and what comes by a router has
//! the router's. It is one when nothing of what asks is answered (next to nothing, where somebody wrote
//! the entry), neither by a pod nor by an ICMP error about the tunnel, and no network policy is likely to
//! be the reason. The peer's own evidence has the last word.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Finding, Severity},
    firewall::perhaps_forbidden_anywhere,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{error_of, is_of_tunnel, sightings},
    silence::mostly_unanswered,
    underlay::{destination, entry, protocol},
    unexplained_loss,
};
use crate::{
    evidence::{Link, MacAddress, Neighbour, NeighbourState, Stage, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "underlay-neighbour-wrong-mac",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    // What other proofs are there of the same loss come first.
    rank: Rank::Told,
    judge,
};

/// Packets that left in vain for each that looks answered: both ends of a connection of before the fault
/// go on for a while, and what the peer repeats, because nobody has confirmed it, looks like an answer.
const IN_VAIN: u64 = 16;

/// A peer whose frames come from another MAC than they are sent to.
struct Differing<'a> {
    node: IpAddr,
    uplink: &'a Link,
    entry: &'a Neighbour,
    /// What the entry says.
    written: MacAddress,
    /// What frames of the node have.
    seen: MacAddress,
}

fn judge(case: &Case<'_>) -> Ruling {
    if !case.sees_all(Stage::WireIn) {
        return Ruling::default();
    }
    // What it then says is said of the loss.
    let is_forbidden = perhaps_forbidden_anywhere(case, String::new).is_some();
    let peers = case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some());
    let found = peers.filter_map(|peer| {
        let differing = differing(case, peer)?;
        let is_by_hand = is_written_by_hand(differing.entry);
        let lost = unanswered(peer, is_by_hand)?;
        let is_told = !is_refused(case, differing.node) && (is_by_hand || !is_forbidden);
        let confidence = if is_by_hand && !is_forbidden {
            Confidence::Certain
        } else {
            // Somebody has answered with that MAC, or pods may not answer.
            Confidence::Likely
        };
        is_told.then(|| judged(case, peer, &differing, (lost, confidence)))
    });
    Ruling::from(found.collect::<Vec<_>>())
}

/// How many packets asked for an answer and got none, where nothing was answered. An entry that
/// somebody wrote is odd by itself: there few may look answered.
fn unanswered(peer: &Peer<'_>, is_by_hand: bool) -> Option<u64> {
    let traffic = peer.traffic?;
    let lost = mostly_unanswered(traffic)?;
    let most = if is_by_hand { lost / IN_VAIN } else { 0 };
    (traffic.answered? <= most).then_some(lost)
}

fn differing<'a>(case: &Case<'a>, peer: &Peer<'_>) -> Option<Differing<'a>> {
    let node = destination(peer)?;
    let (uplink, entry) = entry(case, node)?;
    // The kernel itself writes the device's own MAC where nobody is asked (arp_constructor,
    // net/ipv4/arp.c, Linux 6.18).
    let is_resolved = entry.state.is_valid() && entry.state != NeighbourState::NoArp;
    let written = entry.mac.filter(|_| is_resolved)?;
    let traffic = peer.traffic.filter(|it| it.outer_source == Some(node))?;
    // The MAC is that of one of the last packets, whenever it came: so packets must go on coming.
    let comes = traffic.packets.wire_in > traffic.early.wire_in;
    let seen = traffic.outer_source_mac.filter(|mac| comes && *mac != written)?;
    let is_others = is_of_another(case.topology.tables?, uplink, node, seen);
    (!is_others).then_some(Differing { node, uplink, entry, written, seen })
}

/// Where whoever has a peer's address answers, and the peer's frames come from another MAC: what to look
/// at.
pub(super) fn another_machine(case: &Case<'_>, peer: &Peer<'_>) -> Option<String> {
    let Differing { node, uplink, written, seen, .. } = differing(case, peer)?;
    Some(format!(
        "(this node sends to {written} for {node}, whose tunnel packets come from {seen}: if that is no \
         bond, another machine has the address; `ip neigh del {node} dev {}` asks anew)",
        uplink.name
    ))
}

/// Whether whoever has the address says that it takes no tunnel packets: they do get there.
fn is_refused(case: &Case<'_>, node: IpAddr) -> bool {
    let mut errors = sightings(case).filter_map(error_of);
    errors.any(|error| error.quoted.destination == node && is_of_tunnel(case, &error))
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

fn judged(
    case: &Case<'_>,
    peer: &Peer<'_>,
    differing: &Differing<'_>,
    (lost, confidence): (u64, Confidence),
) -> Judged {
    let Differing { node, uplink, entry, written, seen } = differing;
    let (cidr, device) = (peer.cidr, &uplink.name);
    let seconds = case.evidence.window.seconds;
    let finding = RULE.finding(
        format!("{device} sends to {written} for {node}, whose frames come from {seen}"),
        case.about_peer(peer),
        case.after_age(entry.updated_age),
        vec![
            format!("the neighbour entry of {device} for {node} has the MAC {written}"),
            format!("VXLAN packets from {node} come in frames of {seen}"),
            format!(
                "{lost} packets that left encapsulated for it in {seconds:.1} s asked for an answer \
                 and got none"
            ),
        ],
        remedy(differing),
    );
    Judged {
        finding: Finding { confidence, ..finding },
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Loss(cidr, StagePair::WireToPeer)]),
        // The first as the peer feels it: to it this node is as one whose packets do not leave.
        explains: BTreeSet::from([
            Effect::Loss(cidr, StagePair::OverlayToWire),
            Effect::Loss(cidr, StagePair::WireToPeer),
            Effect::Silence(cidr),
        ]),
        as_break: format!("MAC of the node of {cidr}"),
    }
}

/// Nobody is asked whether such an entry is right.
fn is_written_by_hand(entry: &Neighbour) -> bool {
    entry.state == NeighbourState::Permanent
}

/// What is left of a finding when the peer's evidence shows that packets did come in there.
pub(super) fn disproved(finding: &Finding) -> Finding {
    let cidr = &finding.subject.key;
    Finding {
        breaks: finding.breaks.clone(),
        ..unexplained_loss::RULE.finding(
            format!("Packets of {cidr} are lost after {}", Stage::WireOut.name()),
            finding.subject.clone(),
            finding.since.clone(),
            finding.evidence.last().cloned().into_iter().collect(),
            Vec::new(),
        )
    }
}

fn remedy(Differing { node, uplink, entry, written, seen }: &Differing<'_>) -> Vec<String> {
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
