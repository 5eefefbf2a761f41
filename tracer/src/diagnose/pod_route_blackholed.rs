//! `pod-route-blackholed`: the kernel refuses packets for a peer's CIDR by a route.

use std::collections::BTreeSet;

use super::{
    case::{Case, table_name},
    finding::{Confidence, Severity},
    refusing_route::{of_table, refusing_route, words},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Route, RouteOutcome, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "pod-route-blackholed",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let mut ruling = Ruling::default();
    for peer in &case.topology.peers {
        let Some((answer, route)) = refusal(tables, peer) else { continue };
        if peer.lives() || route.destination.trunc() == peer.cidr {
            ruling.judged.push(judged(case, peer, answer, route));
        } else {
            ruling.unseen.push(format!(
                "whether a node owns {}, which the {} refuses",
                peer.cidr,
                words(route)
            ));
        }
    }
    ruling
}

/// A refusing answer and its route. The kernel refuses a pod's packet for other reasons too, with
/// forwarding off for one: where it would let the node's own pass, only a route to exactly this
/// CIDR is a proof.
fn refusal<'a>(tables: &'a Tables, peer: &Peer<'a>) -> Option<(&'a RouteOutcome, &'a Route)> {
    let passes = peer.answers.iter().any(|answer| matches!(answer, RouteOutcome::Route(_)));
    peer.answers.iter().find_map(|answer| {
        let RouteOutcome::Refused(errno) = answer else { return None };
        let route = refusing_route(tables, peer.cidr, *errno)?;
        (!passes || route.destination.trunc() == peer.cidr).then_some((answer, route))
    })
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, answer: &RouteOutcome, route: &Route) -> Judged {
    let cidr = peer.cidr;
    let title = format!("Packets to {} are refused by the {}", peer.label(), words(route));
    let evidence = vec![
        format!("asked for a packet to {cidr}, the kernel {}", case.describe(answer)),
        format!("table {} has the {}", table_name(route.table), words(route)),
    ];
    Judged {
        finding: RULE.finding(
            title,
            case.about_peer(peer),
            case.before_start(),
            evidence,
            repair(case, peer, route),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoRoute(cidr)]),
        explains: BTreeSet::from([
            Effect::NoRoute(cidr),
            Effect::Loss(cidr, StagePair::PodToOverlay),
            Effect::Silence(cidr),
        ]),
        as_break: format!("route to {cidr}"),
    }
}

/// A wider refusing route stands there by intent when flannel's route to the peer is gone; else
/// it is to go, and flannel's route is to be written again where it was replaced.
fn repair(case: &Case<'_>, peer: &Peer<'_>, route: &Route) -> Vec<String> {
    let mut lines = Vec::new();
    if route.destination.trunc() == peer.cidr || peer.overlay_route.is_some() {
        let metric =
            if route.metric == 0 { String::new() } else { format!(" metric {}", route.metric) };
        lines.push(format!("ip route del {}{}{metric}", words(route), of_table(route)));
    }
    if peer.overlay_route.is_none() {
        lines.extend(remedy::restart_with_note(
            case.evidence,
            &format!(
                "flannel's own route to {} is missing, and it does not restore it by itself",
                peer.cidr
            ),
        ));
    }
    lines
}
