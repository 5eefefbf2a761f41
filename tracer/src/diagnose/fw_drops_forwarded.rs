//! `fw-drops-forwarded-pod-traffic`: a packet filter of this node drops packets between its pods and
//! those of peers where they are forwarded: before they are encapsulated, or when they have come out
//! of the tunnel. With network policies that may be meant.

use ipnet::IpNet;

use super::{
    blocked::{Passed, blocked, own_refusals, stages_agree},
    case::Case,
    dropped::{Way, way},
    finding::{Confidence, Severity},
    firewall::{Hit, finding, flows, hit_by, perhaps_forbidden, show_rules},
    fw_drops_at_ports, remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    unread::{is_unread, probable},
};
use crate::{
    evidence::{Drop, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "fw-drops-forwarded-pod-traffic",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let hits = if is_unread(case) { probable_hits(case) } else { proven_hits(case) };
    let unseen: Vec<String> = hits.iter().filter_map(|hit| forbidden(case, hit)).collect();
    let judged = if unseen.is_empty() { judged(case, &hits) } else { None };
    let at_ports = fw_drops_at_ports::ruling(case);
    Ruling {
        judged: judged.into_iter().chain(at_ports.judged).collect(),
        unseen: unseen.into_iter().chain(at_ports.unseen).collect(),
    }
}

/// The peers whose packets were dropped.
fn proven_hits<'c, 'a>(case: &'c Case<'a>) -> Vec<Hit<'c, 'a>> {
    let found = blocked(case, &Passed::of(case), |drop| forwarded(case, drop));
    let hits = found.into_iter().filter_map(|((cidr, pair), dropped)| {
        let peer = case.topology.peer(cidr).filter(|peer| peer.direct.is_none())?;
        let is_dropped = !is_rejected(case, peer, pair) && stages_agree(case, peer, pair, &dropped);
        is_dropped.then_some(Hit { peer, pair, dropped })
    });
    hits.collect()
}

/// The peers whose packets end where as many were dropped.
fn probable_hits<'c, 'a>(case: &'c Case<'a>) -> Vec<Hit<'c, 'a>> {
    let pairs = [StagePair::PodToOverlay, StagePair::OverlayToPod];
    let mut hits: Vec<Hit<'_, '_>> =
        pairs.into_iter().flat_map(|pair| probable(case, pair)).collect();
    hits.retain(|hit| !is_rejected(case, hit.peer, hit.pair));
    hits
}

/// Between which stages a packet from pod to pod was forwarded when it was dropped.
fn forwarded(case: &Case<'_>, drop: &Drop) -> Option<(IpNet, StagePair)> {
    let (flow, tables) = (drop.flow?, case.topology.tables?);
    let inside = [case.topology.bridge, case.topology.overlay];
    let is_inside = |name: &str| inside.into_iter().flatten().any(|link| link.name == name);
    if !drop.interface.as_deref().is_none_or(is_inside) {
        return None;
    }
    let is_pod = |address| case.topology.is_own(address) && !tables.is_local(address);
    match way(case, drop)? {
        Way::Out(cidr) if is_pod(flow.source) => Some((cidr, StagePair::PodToOverlay)),
        Way::In(cidr) if is_pod(flow.destination) => Some((cidr, StagePair::OverlayToPod)),
        _ => None,
    }
}

/// Whether this node answers with an ICMP error: that is another finding.
fn is_rejected(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> bool {
    let is_its = |destination| peer.cidr.contains(&destination);
    pair == StagePair::PodToOverlay
        && own_refusals(case).any(|(error, _)| is_its(error.quoted.destination))
}

fn forbidden(case: &Case<'_>, hit: &Hit<'_, '_>) -> Option<String> {
    perhaps_forbidden(case, || {
        format!(
            "why a packet filter dropped {} packets of {} after {}",
            hit.dropped.packets,
            hit.peer.label(),
            hit.pair.last_seen().name()
        )
    })
}

fn judged(case: &Case<'_>, hits: &[Hit<'_, '_>]) -> Option<Judged> {
    let (subject, whom) = hit_by(case, hits)?;
    let node = &case.evidence.node.name;
    let whose = |pair| match pair {
        StagePair::PodToOverlay => "of this node's pods to",
        _ => "for this node's pods from",
    };
    let line = |hit: &Hit<'_, '_>| {
        let mut lines = hit.lines(case, whose(hit.pair));
        lines.extend(flows(&hit.dropped.drops));
        lines
    };
    // What it drops was not sent, or did come: silence of a peer has another cause.
    let lost = |hit: &Hit<'_, '_>| Effect::Loss(hit.peer.cidr, hit.pair);
    let title = format!("A firewall of {node} drops forwarded packets between its pods and {whom}");
    let evidence = hits.iter().flat_map(line).collect();
    let (finding, rank) = finding(case, &RULE, (title, subject), evidence, repair(case));
    Some(Judged {
        finding,
        rank,
        supports: hits.iter().map(lost).collect(),
        explains: hits.iter().map(lost).collect(),
        as_break: format!("forwarded packets between pods here and {whom}"),
    })
}

/// flannel's own rules accept what is forwarded for pods, whatever the chain's policy.
fn repair(case: &Case<'_>) -> Vec<String> {
    let mut lines = remedy::restart_with_note(
        case.evidence,
        "flannel puts FLANNEL-FWD, which accepts pods' packets, back into the hook forward: a policy \
         DROP, as Docker and ufw set it, is harmless then; a rule that drops is not",
    );
    lines.extend(show_rules(case, "what drops in the hook forward"));
    lines
}
