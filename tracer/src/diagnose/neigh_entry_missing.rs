//! `neigh-entry-missing`: the gateway of a peer's route has no MAC.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{NeighbourState, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "neigh-entry-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let broken = case.topology.peers.iter().filter(|peer| {
        let by_gateway = peer.overlay_route.is_some_and(|route| {
            route.next_hops.iter().any(|hop| hop.gateway == Some(peer.gateway))
        });
        by_gateway && peer.resolved().is_none() && !is_noarp(peer)
    });
    Ruling::from(broken.map(|peer| judged(case, peer)).collect::<Vec<_>>())
}

/// A NOARP entry is sent with as it is.
fn is_noarp(peer: &Peer<'_>) -> bool {
    peer.neighbour.is_some_and(|entry| entry.state == NeighbourState::NoArp)
}

fn judged(case: &Case<'_>, peer: &Peer<'_>) -> Judged {
    let cidr = peer.cidr;
    let name = case.overlay_name();
    let gateway = peer.gateway;
    let state = peer.neighbour.map_or_else(
        || format!("{name} has no neighbour entry for {gateway}"),
        |entry| {
            format!("the neighbour entry of {name} for {gateway} has no MAC ({:?})", entry.state)
        },
    );
    Judged {
        finding: RULE.finding(
            format!("No neighbour entry for {gateway}, the gateway of {}", peer.label()),
            case.about_peer(peer),
            case.before_start(),
            vec![format!("table main routes {cidr} via {gateway} by {name}"), state],
            remedy::restart_with_note(
                case.evidence,
                "flannel does not restore neighbour entries by itself, and nobody there answers \
                 who asks for one",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoNeighbour(cidr)]),
        explains: BTreeSet::from([
            Effect::NoNeighbour(cidr),
            Effect::Loss(cidr, StagePair::PodToOverlay),
            Effect::Loss(cidr, StagePair::OverlayToWire),
            Effect::Silence(cidr),
        ]),
        as_break: format!("neighbour entry of {cidr}"),
    }
}
