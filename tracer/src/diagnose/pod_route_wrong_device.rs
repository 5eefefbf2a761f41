//! `pod-route-wrong-device`: packets for a peer's CIDR go to the bridge of this node's own pods, back
//! to the node itself, or to the tunnel end of another peer.
//!
//! The bridge is a dead end, and so is the loopback device. Another peer hands the packets on by its own route, so that way mostly
//! works, with one more node in it and with a translated source.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::{Case, table_name},
    finding::{Confidence, Finding, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    silence::is_silent,
};
use crate::{
    evidence::{Link, Route, RouteOutcome, StagePair},
    topology::{Peer, TABLE_MAIN, leaves_by},
};

pub(super) const RULE: Rule = Rule {
    code: "pod-route-wrong-device",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// Where packets for a peer go instead.
#[derive(Clone, Copy)]
enum Wrong<'a> {
    /// To the bridge of this node's pods.
    Bridge(&'a Link),
    /// To the node itself.
    Loopback(&'a Link),
    /// To the overlay address of another peer.
    Vtep(&'a Peer<'a>, IpAddr),
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some((_, overlay)) = case.working_overlay() else { return Ruling::default() };
    let mut ruling = Ruling::default();
    for peer in case.topology.peers.iter().filter(|peer| peer.lives()) {
        let mut answers = peer.answers.iter();
        let found = answers.find_map(|answer| {
            let RouteOutcome::Route(route) = answer else { return None };
            Some((answer, route, wrong_way(case, peer, overlay, route)?))
        });
        if let Some((answer, route, wrong)) = found {
            ruling.judged.push(judged(case, peer, answer, route, wrong));
        }
    }
    ruling
}

/// Where a route for this peer's CIDR leads, if not to the peer. A wider route says that the
/// peer's own is missing, and another table that a policy rule is asked before it.
fn wrong_way<'a>(
    case: &'a Case<'_>,
    peer: &Peer<'_>,
    overlay: &Link,
    route: &Route,
) -> Option<Wrong<'a>> {
    let is_of_peer = route.destination.prefix_len() >= peer.cidr.prefix_len();
    if !is_of_peer || (route.table != TABLE_MAIN && peer.overlay_route.is_some()) {
        return None;
    }
    if let Some(bridge) = case.topology.bridge.filter(|bridge| leaves_by(route, bridge.index)) {
        return Some(Wrong::Bridge(bridge));
    }
    if let Some(loopback) = case.loopback().filter(|loopback| leaves_by(route, loopback.index)) {
        return Some(Wrong::Loopback(loopback));
    }
    let gateway = route.next_hops.iter().find_map(|hop| hop.gateway)?;
    let other = case.topology.peer_of(gateway).filter(|other| other.cidr != peer.cidr)?;
    leaves_by(route, overlay.index).then_some(Wrong::Vtep(other, gateway))
}

fn judged(
    case: &Case<'_>,
    peer: &Peer<'_>,
    answer: &RouteOutcome,
    route: &Route,
    wrong: Wrong<'_>,
) -> Judged {
    let cidr = peer.cidr;
    let leads = format!("The route to {} leads to", peer.label());
    let title = match wrong {
        Wrong::Bridge(bridge) => {
            format!("{leads} {}, the bridge of this node's own pods", bridge.name)
        }
        Wrong::Loopback(loopback) => format!("{leads} {}, this node itself", loopback.name),
        Wrong::Vtep(other, _) => format!("{leads} another node, {}", other.label()),
    };
    let finding = RULE.finding(
        title,
        case.about_peer(peer),
        case.before_start(),
        evidence(case, peer, answer, wrong),
        repair(case, peer, route, wrong),
    );
    Judged {
        finding: Finding { severity: severity(peer, wrong), ..finding },
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoRoute(cidr)]),
        explains: explains(peer, wrong),
        as_break: format!("route to {cidr}"),
    }
}

/// A detour works, unless nothing at all comes back.
fn severity(peer: &Peer<'_>, wrong: Wrong<'_>) -> Severity {
    match wrong {
        Wrong::Vtep(..) if !peer.traffic.is_some_and(is_silent) => Severity::Warning,
        _ => RULE.severity,
    }
}

fn explains(peer: &Peer<'_>, wrong: Wrong<'_>) -> BTreeSet<Effect> {
    let pair = match wrong {
        Wrong::Bridge(_) | Wrong::Loopback(_) => StagePair::PodToOverlay,
        Wrong::Vtep(..) => StagePair::WireToPeer,
    };
    let cidr = peer.cidr;
    BTreeSet::from([Effect::NoRoute(cidr), Effect::Loss(cidr, pair), Effect::Silence(cidr)])
}

fn evidence(
    case: &Case<'_>,
    peer: &Peer<'_>,
    answer: &RouteOutcome,
    wrong: Wrong<'_>,
) -> Vec<String> {
    let (cidr, overlay) = (peer.cidr, case.overlay_name());
    let asked = format!("asked for a packet to {cidr}, the kernel {}", case.describe(answer));
    let expected = match wrong {
        Wrong::Bridge(bridge) => format!(
            "{} holds the pods of this node; the way to {cidr} is via {} by {overlay}",
            bridge.name, peer.gateway
        ),
        Wrong::Loopback(loopback) => format!(
            "{} brings packets back to this node; the way to {cidr} is via {} by {overlay}",
            loopback.name, peer.gateway
        ),
        Wrong::Vtep(other, gateway) => format!(
            "{gateway} is the overlay address of {}; that of {cidr} is {}",
            other.label(),
            peer.gateway
        ),
    };
    vec![asked, expected]
}

fn repair(case: &Case<'_>, peer: &Peer<'_>, route: &Route, wrong: Wrong<'_>) -> Vec<String> {
    let way = match wrong {
        Wrong::Bridge(link) | Wrong::Loopback(link) => format!("dev {}", link.name),
        Wrong::Vtep(_, gateway) => format!("via {gateway} dev {}", case.overlay_name()),
    };
    let table = match route.table {
        TABLE_MAIN => String::new(),
        other => format!(" table {}", table_name(other)),
    };
    let mut lines = vec![format!("ip route del {} {way}{table}", route.destination)];
    lines.extend(remedy::restart_with_note(
        case.evidence,
        &format!("flannel writes the right route to {} at its start only", peer.cidr),
    ));
    lines
}
