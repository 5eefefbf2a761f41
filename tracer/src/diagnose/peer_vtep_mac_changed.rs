//! `peer-vtep-mac-changed`: a peer's overlay device has another MAC than the one that frames for it
//! carry, and drops them without a counter or an answer.
//!
//! The sender tells by a list of nodes, or by the MAC in packets that still come from the peer. A
//! node whose own MAC is as announced tells it of the sender whose frames come for another one.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, is_unknown_mac, lasting},
};
use crate::{
    evidence::{MacAddress, PeerIntent, Sight, Sighting, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "peer-vtep-mac-changed",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// The MAC that a peer has, and what tells it.
struct Real {
    mac: MacAddress,
    told_by: String,
}

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let peers = case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some());
    let stale = peers.filter_map(|peer| {
        let (_, written) = peer.resolved()?;
        let real = real_mac(case, peer, written)?;
        Some(of_sender(case, peer, written, &real))
    });
    Ruling::from(stale.chain(behind(case)).collect::<Vec<_>>())
}

/// The peer's MAC where it is another than that of its entries. They agree with each other, or the
/// fault is in one of them; and what nobody else has, or packets came by way of another node.
fn real_mac(case: &Case<'_>, peer: &Peer<'_>, written: MacAddress) -> Option<Real> {
    let entry = peer.fdb.filter(|entry| entry.mac == written)?;
    let intended = peer.intent.and_then(|intent| {
        let told_by = format!("{} names", intent.source);
        let is_its_node = entry.destination == Some(intent.node_ip);
        intent.vtep_mac.filter(|_| is_its_node).map(|mac| Real { mac, told_by })
    });
    let seen = peer.traffic.and_then(|traffic| {
        // The MAC is that of the last packet, whenever it came: so packets must go on coming.
        let comes = traffic.packets.wire_in > traffic.early.wire_in;
        let node = traffic.outer_source.filter(|node| entry.destination == Some(*node) && comes)?;
        let told_by = format!("VXLAN packets that came from {node} in the window carry");
        traffic.inner_source_mac.map(|mac| Real { mac, told_by })
    });
    // Packets tell what is; a list tells what was when it was written.
    let real = seen.or(intended).filter(|real| real.mac != written)?;
    let is_unique = is_nobodys(case, peer, real.mac) && is_nobodys(case, peer, written);
    is_unique.then_some(real)
}

/// Neither this node nor another peer has the MAC.
fn is_nobodys(case: &Case<'_>, peer: &Peer<'_>, mac: MacAddress) -> bool {
    let is_own = case.topology.overlay.is_some_and(|overlay| overlay.mac == Some(mac));
    let has = |other: &Peer<'_>| {
        let intended = other.intent.and_then(|intent| intent.vtep_mac);
        let written = other.resolved().map(|(_, mac)| mac);
        intended == Some(mac) || written == Some(mac)
    };
    let mut others = case.topology.peers.iter().filter(|other| other.cidr != peer.cidr);
    !is_own && !others.any(has)
}

fn of_sender(case: &Case<'_>, peer: &Peer<'_>, written: MacAddress, real: &Real) -> Judged {
    let (name, cidr, mac) = (case.overlay_name(), peer.cidr, real.mac);
    let mut subject = case.about_peer(peer);
    subject.vtep_mac = Some(mac);
    Judged {
        finding: RULE.finding(
            format!("{} has the MAC {mac}, this node sends to {written}", peer.label()),
            subject,
            case.before_start(),
            vec![
                format!("neighbour and FDB entry of {name} for {cidr} have the MAC {written}"),
                format!("{} {mac}", real.told_by),
            ],
            vec![
                format!(
                    "(restart flannel on {}, so that it announces its MAC; before that keep others off \
                     flannel*: MACAddressPolicy=none in a systemd .link file)",
                    peer.short_name()
                ),
                format!("ip neigh show dev {name} {}      (until it shows {mac})", peer.gateway),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: Effect::between_tunnel_ends(cidr).collect(),
        as_break: format!("MAC of {cidr}"),
    }
}

/// Senders whose frames come for a MAC that nobody has, while this node's is as a list names it.
fn behind(case: &Case<'_>) -> Vec<Judged> {
    let Some((now, intent)) = announced(case) else { return Vec::new() };
    let name = |sighting: &Sighting| match sighting.what {
        Sight::OtherMac { destination, address, .. } if destination != now => {
            let sender = case.topology.peer_of(address)?;
            is_unknown_mac(case, destination).then_some((sender.cidr, destination))
        }
        _ => None,
    };
    let found = lasting(case, ENOUGH, name);
    let behind = found.iter().filter_map(|((cidr, mac), seen)| {
        Some(of_changed(case, case.topology.peer(*cidr)?, *mac, (now, intent), seen.packets))
    });
    behind.collect()
}

/// The MAC of this node's device, where a list names it for this node.
fn announced<'a>(case: &Case<'a>) -> Option<(MacAddress, &'a PeerIntent)> {
    let now = case.topology.overlay?.mac?;
    let is_own = |intent: &&PeerIntent| case.topology.own_cidrs.contains(&intent.pod_cidr.trunc());
    let intent = case.evidence.intent.peers.iter().find(is_own)?;
    (intent.vtep_mac == Some(now)).then_some((now, intent))
}

fn of_changed(
    case: &Case<'_>,
    sender: &Peer<'_>,
    mac: MacAddress,
    (now, intent): (MacAddress, &PeerIntent),
    packets: u64,
) -> Judged {
    let (name, cidr, seconds) = (case.overlay_name(), sender.cidr, case.evidence.window.seconds);
    let pairs = [StagePair::OverlayToPod, StagePair::WireToPeer];
    let losses = pairs.map(|pair| Effect::Loss(cidr, pair));
    Judged {
        finding: RULE.finding(
            format!("{} still sends to the MAC {mac}, this node has {now}", sender.label()),
            case.about_peer(sender),
            case.in_window(),
            vec![
                format!(
                    "{packets} frames of {cidr} came out of {name} in {seconds:.1} s and are for the MAC \
                     {mac}, which no table here has"
                ),
                format!("{name} has the MAC {now}, as {} names it", intent.source),
            ],
            remedy::restart_with_note(
                case.evidence,
                "so that this node announces its MAC again; who changes it is to be kept off flannel*",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: losses.into_iter().chain([Effect::Silence(cidr)]).collect(),
        as_break: format!("MAC that {cidr} sends to"),
    }
}
