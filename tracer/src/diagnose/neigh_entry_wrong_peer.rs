//! `neigh-entry-wrong-peer`: a peer's neighbour entry carries the MAC of another peer, which then
//! passes its packets on: everything works, by a detour.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    finding::{Confidence, Severity, Subject},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
    unmapped,
};
use crate::{
    evidence::{FdbEntry, MacAddress},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "neigh-entry-wrong-peer",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// By how much, in seconds, a neighbour entry must be younger than the FDB entry to which its MAC
/// leads: flannel writes both entries of a peer one right after the other.
const MARGIN: f64 = 0.1;

/// Peers whose neighbour entries carry one MAC, and that MAC's FDB entry.
struct Shared<'c, 'a> {
    mac: MacAddress,
    entry: &'a FdbEntry,
    peers: Vec<&'c Peer<'a>>,
}

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let is_left_over = !unmapped::orphans(case).is_empty();
    let mut ruling = Ruling::default();
    for shared in all_shared(case) {
        if !is_left_over || shared.peers.iter().all(|peer| intended(peer) == Some(shared.mac)) {
            ruling.unseen.push(format!(
                "which of {} has the MAC {}: all their neighbour entries carry it, and no other FDB \
                 entry is left; run check there",
                labels(&shared.peers),
                shared.mac
            ));
            continue;
        }
        match wrong_ones(case, &shared) {
            Some(wrong) => {
                let of_peer =
                    |peer: &&Peer<'_>| judged(case, &shared, about(case, &shared, peer), peer);
                ruling.judged.extend(wrong.iter().map(of_peer));
            }
            None => {
                let subject = case.about_interface(&case.overlay_name());
                ruling.judged.push(judged(case, &shared, subject, shared.peers[0]));
            }
        }
    }
    ruling
}

fn all_shared<'c, 'a>(case: &'c Case<'a>) -> Vec<Shared<'c, 'a>> {
    let mut by_mac = BTreeMap::<MacAddress, Vec<&Peer<'_>>>::new();
    for peer in case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some()) {
        if let Some((_, mac)) = peer.resolved() {
            by_mac.entry(mac).or_default().push(peer);
        }
    }
    by_mac
        .into_iter()
        .filter(|(_, peers)| peers.len() > 1)
        .filter_map(|(mac, peers)| {
            let entry = case.topology.overlay_fdb().find(|entry| entry.mac == mac)?;
            Some(Shared { mac, entry, peers })
        })
        .collect()
}

/// The peers to which the MAC does not belong: all but one. First by what names a peer's node and
/// MAC, then by the age of the entries.
fn wrong_ones<'c, 'a>(case: &Case<'_>, shared: &Shared<'c, 'a>) -> Option<Vec<&'c Peer<'a>>> {
    let all_but_one = |is_wrong: &dyn Fn(&Peer<'_>) -> bool| {
        let wrong: Vec<_> = shared.peers.iter().copied().filter(|peer| is_wrong(peer)).collect();
        (wrong.len() + 1 == shared.peers.len()).then_some(wrong)
    };
    all_but_one(&|peer| is_contradicted(case, shared, peer))
        .or_else(|| all_but_one(&|peer| is_younger(peer, shared.entry)))
}

/// Intent names another MAC or node for the peer, or packets of its pods came from another node.
fn is_contradicted(case: &Case<'_>, shared: &Shared<'_, '_>, peer: &Peer<'_>) -> bool {
    intended(peer).is_some_and(|mac| mac != shared.mac)
        || node_of(case, shared, peer).is_some_and(|node| Some(node) != shared.entry.destination)
}

/// The peer's node: the one that intent names, else another than that of the shared MAC from which
/// packets of its pods came. Answers come by the detour, and so from the other node.
fn node_of(case: &Case<'_>, shared: &Shared<'_, '_>, peer: &Peer<'_>) -> Option<IpAddr> {
    let flows = case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let seen = flows
        .filter(|flow| peer.cidr.contains(&flow.source))
        .filter_map(|flow| flow.outer_source)
        .find(|source| Some(*source) != shared.entry.destination);
    peer.intent.map(|intent| intent.node_ip).or(seen)
}

fn intended(peer: &Peer<'_>) -> Option<MacAddress> {
    peer.intent.and_then(|intent| intent.vtep_mac)
}

fn is_younger(peer: &Peer<'_>, entry: &FdbEntry) -> bool {
    let written = peer.resolved().and_then(|(neighbour, _)| neighbour.updated_age);
    written.zip(entry.updated_age).is_some_and(|(own, theirs)| own + MARGIN < theirs)
}

/// A peer as the subject. Its tables name the other peer's node and MAC.
fn about(case: &Case<'_>, shared: &Shared<'_, '_>, peer: &Peer<'_>) -> Subject {
    let subject = case.about_peer(peer);
    Subject {
        peer: node_of(case, shared, peer),
        vtep_mac: subject.vtep_mac.filter(|mac| *mac != shared.mac),
        ..subject
    }
}

fn judged(case: &Case<'_>, shared: &Shared<'_, '_>, subject: Subject, peer: &Peer<'_>) -> Judged {
    let name = case.overlay_name();
    let mac = shared.mac;
    let title = if subject.cidr.is_some() {
        format!("The neighbour entry of {} carries the MAC of another node", peer.cidr)
    } else {
        format!("The neighbour entries of {} carry one MAC", labels(&shared.peers))
    };
    let gateways: Vec<String> = shared.peers.iter().map(|peer| peer.gateway.to_string()).collect();
    let written = peer.resolved().and_then(|(neighbour, _)| neighbour.updated_age);
    let mut evidence =
        vec![format!("the neighbours {} of {name} all have the MAC {mac}", gateways.join(", "))];
    if let Some(node) = shared.entry.destination {
        evidence.push(format!("the FDB of {name} sends {mac} to {node}, which passes them on"));
    }
    let left: Vec<String> = unmapped::orphans(case).iter().map(|it| it.mac.to_string()).collect();
    evidence.push(format!("no neighbour uses the FDB entries for {}", left.join(", ")));
    Judged {
        finding: RULE.finding(
            title,
            subject,
            case.after_age(written),
            evidence,
            remedy::restart_with_note(
                case.evidence,
                "flannel does not correct neighbour entries by itself",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("neighbour entry of {}", peer.cidr),
    }
}

fn labels(peers: &[&Peer<'_>]) -> String {
    peers.iter().map(|peer| peer.cidr.to_string()).collect::<Vec<_>>().join(" and ")
}
