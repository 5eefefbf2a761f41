//! `pod-route-missing`: the CIDR of a living peer has no route over the overlay device.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Family, RouteOutcome, StagePair, Tables},
    topology::{LifeSign, Peer, TABLE_MAIN, leaves_by},
};

pub(super) const RULE: Rule = Rule {
    code: "pod-route-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// The kernel's "network is unreachable".
const ENETUNREACH: i32 = 101;

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let mut ruling = Ruling::default();
    for peer in &case.topology.peers {
        let served = case.topology.overlay_serves();
        if !served || !peer.lives() || has_route(tables, peer, overlay.index) {
            continue;
        }
        if peer.answers.iter().next().is_none() {
            ruling.unseen.push(format!(
                "{} has no route here, but the kernel was not asked for one: run check again",
                peer.label()
            ));
        }
        if let Some(answer) = wrong_answer(peer, overlay.index) {
            ruling.judged.push(judged(case, peer, answer));
        }
    }
    ruling
}

/// Table main has a route to the CIDR, wherever it leads (by a node address with DirectRouting), or
/// another table has flannel's.
fn has_route(tables: &Tables, peer: &Peer<'_>, overlay: u32) -> bool {
    tables.routes.iter().any(|route| {
        route.destination.trunc() == peer.cidr
            && (route.table == TABLE_MAIN || leaves_by(route, overlay))
    })
}

/// The kernel's answer by which packets miss the overlay device, if none of its answers hits it.
fn wrong_answer<'a>(peer: &Peer<'a>, overlay: u32) -> Option<&'a RouteOutcome> {
    let hits = |answer: &RouteOutcome| matches!(answer, RouteOutcome::Route(route) if leaves_by(route, overlay));
    if peer.answers.iter().any(hits) {
        return None;
    }
    peer.answers.iter().find(|answer| leads_elsewhere(answer, peer))
}

/// The packet takes a less specific route, or there is none at all.
fn leads_elsewhere(answer: &RouteOutcome, peer: &Peer<'_>) -> bool {
    match answer {
        RouteOutcome::Route(route) => route.destination.prefix_len() < peer.cidr.prefix_len(),
        RouteOutcome::Refused(errno) => *errno == ENETUNREACH,
    }
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, answer: &RouteOutcome) -> Judged {
    let cidr = peer.cidr;
    let written = peer.resolved().and_then(|(neighbour, _)| neighbour.updated_age);
    Judged {
        finding: RULE.finding(
            format!("No route to {}", peer.label()),
            case.about_peer(peer),
            case.after_age(written),
            evidence(case, peer, answer),
            repair(case, answer),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoRoute(cidr)]),
        explains: explains(case, peer, answer),
        as_break: format!("route to {cidr}"),
    }
}

/// Who took the default route too took both at once: that is told with the worse of the two.
fn explains(case: &Case<'_>, peer: &Peer<'_>, answer: &RouteOutcome) -> BTreeSet<Effect> {
    let cidr = peer.cidr;
    let mut explains = BTreeSet::from([
        Effect::NoRoute(cidr),
        Effect::Leak(cidr),
        Effect::Loss(cidr, StagePair::PodToOverlay),
        Effect::Silence(cidr),
    ]);
    if has_no_default(answer) {
        explains.insert(Effect::NoDefaultRoute(case.topology.family));
    }
    explains
}

fn repair(case: &Case<'_>, answer: &RouteOutcome) -> Vec<String> {
    let note = "flannel does not restore routes by itself";
    let mut lines = remedy::restart_with_note(case.evidence, note);
    let is_optional = case.is_dual_stack && case.topology.family == Family::V6;
    if has_no_default(answer) && !is_optional {
        let ip = remedy::ip(case.topology.family);
        lines.push(format!("(the default route is missing too: `{ip} route show default`)"));
    }
    lines
}

fn has_no_default(answer: &RouteOutcome) -> bool {
    *answer == RouteOutcome::Refused(ENETUNREACH)
}

fn evidence(case: &Case<'_>, peer: &Peer<'_>, answer: &RouteOutcome) -> Vec<String> {
    let mut lines = vec![
        format!("route table main has no {}; {}", peer.cidr, signs(peer)),
        format!("asked for a packet to {}, the kernel {}", peer.cidr, case.describe(answer)),
    ];
    let leaked = peer.traffic.map_or(0, |traffic| traffic.leaked);
    if leaked > 0 {
        lines.push(format!("{leaked} packets for {} left un-encapsulated", peer.cidr));
    }
    lines
}

/// Why this CIDR is known to belong to a living node.
fn signs(peer: &Peer<'_>) -> String {
    let signs: Vec<String> = peer
        .life
        .iter()
        .map(|sign| match sign {
            LifeSign::Neighbour => format!("the neighbour {} is present", peer.gateway),
            LifeSign::Fdb => "its FDB entry is present".to_owned(),
            LifeSign::Vxlan => "VXLAN packets from it came in".to_owned(),
            LifeSign::Intent => {
                let source = peer.intent.map_or("the intent", |intent| &intent.source);
                format!("{source} names it")
            }
        })
        .collect();
    signs.join(", ")
}
