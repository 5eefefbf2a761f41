//! `neigh-mac-not-in-fdb`: a peer's neighbour entry and its FDB entry do not carry the same MAC.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity, Subject},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    unmapped::{Unmapped, Wrong, unmapped},
};
use crate::evidence::{FdbEntry, StagePair};

pub(super) const RULE: Rule = Rule {
    code: "neigh-mac-not-in-fdb",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let all = unmapped(case);
    let judged = all.iter().filter_map(|unmapped| match &unmapped.wrong {
        Wrong::Neighbour(left) => Some(judged(case, unmapped, left)),
        Wrong::Fdb | Wrong::Unknown => None,
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, unmapped: &Unmapped<'_, '_>, left: &[&FdbEntry]) -> Judged {
    let peer = unmapped.peer;
    let cidr = peer.cidr;
    Judged {
        finding: RULE.finding(
            format!("Neighbour entry and FDB do not agree on the MAC of {}", peer.label()),
            subject(case, unmapped, left),
            case.after_age(unmapped.neighbour.updated_age),
            evidence(case, unmapped, left),
            remedy::restart_with_note(
                case.evidence,
                "one of the entries is an old one; flannel does not replace it by itself",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoFdb(cidr)]),
        explains: BTreeSet::from([
            Effect::NoFdb(cidr),
            Effect::Loss(cidr, StagePair::OverlayToWire),
            Effect::Silence(cidr),
        ]),
        as_break: format!("neighbour entry of {cidr}"),
    }
}

/// The node is that of the one entry left over. The MAC is not that of the neighbour entry, unless
/// something else names it.
fn subject(case: &Case<'_>, unmapped: &Unmapped<'_, '_>, left: &[&FdbEntry]) -> Subject {
    let subject = case.about_peer(unmapped.peer);
    let by_entry = match left {
        [only] => only.destination,
        _ => None,
    };
    Subject {
        peer: subject.peer.or(by_entry),
        vtep_mac: subject.vtep_mac.filter(|mac| *mac != unmapped.mac),
        ..subject
    }
}

fn evidence(case: &Case<'_>, unmapped: &Unmapped<'_, '_>, left: &[&FdbEntry]) -> Vec<String> {
    let name = case.overlay_name();
    let (peer, mac) = (unmapped.peer, unmapped.mac);
    let entries: Vec<String> = left
        .iter()
        .filter_map(|entry| Some(format!("{} ({})", entry.mac, entry.destination?)))
        .collect();
    let mut lines = vec![
        format!(
            "the neighbour {} of {name} has the MAC {mac}, for which the FDB has no entry",
            peer.gateway
        ),
        format!("the FDB of {name} has {}, which no neighbour entry carries", entries.join(", ")),
    ];
    if let Some((intent, intended)) = peer.intent.and_then(|it| Some((it, it.vtep_mac?))) {
        lines.push(format!("{} names {intended}", intent.source));
    } else if let Some(seen) = peer.traffic.and_then(|traffic| traffic.inner_source_mac) {
        lines.push(format!("packets that came from {} carry {seen}", peer.cidr));
    }
    lines
}
