//! `fdb-entry-missing`: the MAC of a peer's neighbour entry is no key of the overlay's FDB.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{FdbEntry, Link, MacAddress, Neighbour, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "fdb-entry-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    if floods_or_learns(tables, overlay) {
        return Ruling::default();
    }
    let orphans_elsewhere = orphans_are_of_others(case);
    let mut ruling = Ruling::default();
    for peer in case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some()) {
        let Some((neighbour, mac)) = peer.resolved() else { continue };
        if case.topology.overlay_fdb().any(|entry| entry.mac == mac) {
            continue;
        }
        if orphans_elsewhere || mac_is_right(peer, mac) {
            ruling.judged.push(judged(case, peer, neighbour, mac));
        } else {
            ruling.unseen.push(format!(
                "whether the neighbour entry or the FDB entry of {} is wrong: {mac} is no FDB key, \
                 and an FDB entry is left that no neighbour uses; name the peers with --peers",
                peer.label()
            ));
        }
    }
    ruling
}

/// The device finds its own way without an entry for the MAC.
fn floods_or_learns(tables: &Tables, overlay: &Link) -> bool {
    let by_settings = overlay.vxlan.as_ref().is_none_or(|vxlan| vxlan.learning || vxlan.external);
    by_settings
        || tables.fdb.iter().any(|entry| {
            entry.ifindex == overlay.index
                && entry.mac == MacAddress::ZERO
                && entry.destination.is_some()
        })
}

/// A peers file names the neighbour's MAC, or the peer's own packets carry it.
fn mac_is_right(peer: &Peer<'_>, mac: MacAddress) -> bool {
    let intended = peer.intent.and_then(|intent| intent.vtep_mac);
    let seen = peer.traffic.and_then(|traffic| traffic.inner_source_mac);
    intended == Some(mac) || seen == Some(mac)
}

/// Every FDB entry that no neighbour uses is an old one of a peer with a newer. Else the entry
/// left over may be this peer's, and its neighbour entry wrong.
fn orphans_are_of_others(case: &Case<'_>) -> bool {
    let in_use = |entry: &FdbEntry| {
        case.topology.overlay_neighbours().any(|neighbour| neighbour.mac == Some(entry.mac))
    };
    let used: BTreeSet<Option<IpAddr>> = case
        .topology
        .overlay_fdb()
        .filter(|entry| in_use(entry))
        .map(|entry| entry.destination)
        .collect();
    case.topology
        .overlay_fdb()
        .filter(|entry| !in_use(entry))
        .all(|orphan| used.contains(&orphan.destination))
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, neighbour: &Neighbour, mac: MacAddress) -> Judged {
    let cidr = peer.cidr;
    let name = case.overlay_name();
    Judged {
        finding: RULE.finding(
            format!("No FDB entry for {}", peer.label()),
            case.about_peer(peer),
            case.after_age(neighbour.updated_age),
            vec![
                format!("the neighbour {} of {name} has the MAC {mac}", peer.gateway),
                format!("the FDB of {name} has no entry for {mac} nor a default one"),
            ],
            remedy::restart_with_note(
                case.evidence,
                "flannel does not restore FDB entries by itself",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoFdb(cidr)]),
        explains: BTreeSet::from([
            Effect::NoFdb(cidr),
            Effect::Loss(cidr, StagePair::OverlayToWire),
            Effect::Silence(cidr),
        ]),
        as_break: format!("FDB entry of {cidr}"),
    }
}
