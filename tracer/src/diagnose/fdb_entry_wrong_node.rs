//! `fdb-entry-wrong-node`: an FDB entry sends a peer's packets to the node of another peer, whose
//! overlay device takes them for another host's and drops them.
//!
//! The node that has the entry cannot tell without a list of nodes. The wrong node can: frames for a
//! peer's MAC come out of its tunnel.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, lasting},
};
use crate::{
    evidence::{MacAddress, PeerIntent, Sight, Sighting, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "fdb-entry-wrong-node",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let own = case.topology.peers.iter().filter_map(|peer| {
        let (intent, other) = contradiction(case, peer)?;
        Some(of_sender(case, peer, intent, other))
    });
    Ruling::from(own.chain(strays(case)).collect::<Vec<_>>())
}

/// What names another node for the peer than its FDB entry does, and whose node that is. A peer
/// whose neighbour entry carries another's MAC has the FDB entry of that one.
fn contradiction<'a>(case: &Case<'a>, peer: &Peer<'a>) -> Option<(&'a PeerIntent, &'a PeerIntent)> {
    let (_, mac) = peer.overlay_route.and(peer.resolved())?;
    let destination = peer.fdb.filter(|entry| entry.mac == mac)?.destination?;
    let intent = peer.intent.filter(|intent| intent.node_ip != destination)?;
    let is_its_mac = intent.vtep_mac.is_none_or(|intended| intended == mac);
    let carries = |other: &&Peer<'_>| other.resolved().is_some_and(|(_, its)| its == mac);
    let is_alone = case.topology.peers.iter().filter(carries).count() == 1;
    let other = case.topology.intended().find(|other| other.node_ip == destination)?;
    (is_its_mac && is_alone).then_some((intent, other))
}

fn of_sender(case: &Case<'_>, peer: &Peer<'_>, intent: &PeerIntent, other: &PeerIntent) -> Judged {
    let (name, cidr, wrong) = (case.overlay_name(), peer.cidr, other.node_ip);
    let age = peer.fdb.and_then(|entry| entry.updated_age);
    let mac = intent.vtep_mac.or(peer.vtep_mac).map(|mac| format!(" for {mac}"));
    Judged {
        finding: RULE.finding(
            format!("The FDB sends packets of {} to the node of {}", peer.label(), other.pod_cidr),
            case.about_peer(peer),
            case.after_age(age),
            vec![
                format!("the FDB entry of {name}{} names {wrong}", mac.unwrap_or_default()),
                format!("{} names {}", intent.source, intent.node_ip),
                format!("{} names {wrong} for {}", other.source, other.pod_cidr),
            ],
            remedy::restart_with_note(
                case.evidence,
                "flannel does not correct FDB entries by itself",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: Effect::between_tunnel_ends(cidr).collect(),
        as_break: format!("FDB entry of {cidr}"),
    }
}

/// Senders whose frames come here and carry the MAC of another peer.
fn strays(case: &Case<'_>) -> Vec<Judged> {
    let name = |sighting: &Sighting| match sighting.what {
        Sight::OtherMac { destination, address, .. } => {
            let sender = case.topology.peer_of(address)?;
            let meant = owner(case, destination).filter(|it| it.cidr != sender.cidr)?;
            Some((sender.cidr, meant.cidr, destination))
        }
        _ => None,
    };
    let found = lasting(case, ENOUGH, name);
    let stray = found.iter().filter_map(|((sender, meant, mac), seen)| {
        let (sender, meant) = (case.topology.peer(*sender)?, case.topology.peer(*meant)?);
        Some(of_wrong_node(case, sender, meant, *mac, seen.packets))
    });
    stray.collect()
}

/// The peer that alone has a MAC.
fn owner<'c, 'a>(case: &'c Case<'a>, mac: MacAddress) -> Option<&'c Peer<'a>> {
    let is_own = case.topology.overlay.is_some_and(|overlay| overlay.mac == Some(mac));
    let mut owners = case.topology.peers.iter().filter(|peer| {
        let intended = peer.intent.and_then(|intent| intent.vtep_mac);
        let written = peer.resolved().map(|(_, mac)| mac).filter(|_| peer.fdb.is_some());
        intended.or(written) == Some(mac)
    });
    owners.next().filter(|_| !is_own && owners.next().is_none())
}

fn of_wrong_node(
    case: &Case<'_>,
    sender: &Peer<'_>,
    meant: &Peer<'_>,
    mac: MacAddress,
    packets: u64,
) -> Judged {
    let (name, cidr, seconds) = (case.overlay_name(), sender.cidr, case.evidence.window.seconds);
    let own: Option<IpAddr> = case.node_ip();
    let own = own.map_or_else(|| "this node".to_owned(), |ip| ip.to_string());
    Judged {
        finding: RULE.finding(
            format!("{} sends packets of {} to this node", sender.label(), meant.cidr),
            case.about_peer(sender),
            case.in_window(),
            vec![
                format!(
                    "{packets} frames of {cidr} came out of {name} in {seconds:.1} s and are for the MAC \
                     {mac}"
                ),
                format!("{mac} is the MAC of {}", meant.label()),
            ],
            vec![
                format!(
                    "bridge fdb show dev {name} | grep {mac}      (on {}: it names {own})",
                    sender.short_name()
                ),
                format!("(restart flannel on {})", sender.short_name()),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::from([Effect::Loss(cidr, StagePair::OverlayToPod)]),
        as_break: format!("FDB of {cidr}"),
    }
}
