//! `fw-rejects-forwarded-pod-traffic`: a firewall answers pods' packets with an ICMP error, where
//! they are forwarded: on the peer, whose address in the tunnel sends it, or on this node.
//!
//! A pod whose port is closed answers by its own address, and a host that finds no way to a pod says
//! "host unreachable": both are something else. With network policies a rejection may be meant.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    firewall::{flow_words, perhaps_forbidden, perhaps_forbidden_anywhere},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH_ERRORS, error_of, lasting, refusal, sightings, words},
};
use crate::{
    evidence::{IcmpError, Sighting, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "fw-rejects-forwarded-pod-traffic",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

/// How many of the rejected flows are named.
const NAMED: usize = 3;

/// Whose firewall it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The peer's.
    There,
    /// This node's.
    Here,
}

fn judge(case: &Case<'_>) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let name = |sighting: &Sighting| {
        let (peer, place) = rejected(case, sighting)?;
        Some((peer.cidr, place))
    };
    let mut ruling = Ruling::default();
    for ((cidr, place), seen) in lasting(case, ENOUGH_ERRORS, name) {
        let Some(peer) = case.topology.peer(cidr) else { continue };
        let why = || format!("why packets to pods of {} are rejected", peer.label());
        let forbidden = match place {
            Place::Here => perhaps_forbidden(case, why),
            Place::There => perhaps_forbidden_anywhere(case, why),
        };
        match forbidden {
            Some(line) => ruling.unseen.push(line),
            None => ruling.judged.push(judged(case, peer, place, seen.packets)),
        }
    }
    ruling
}

/// The peer whose pod the rejected packet was for, and who rejects it.
fn rejected<'c, 'a>(case: &'c Case<'a>, sighting: &Sighting) -> Option<(&'c Peer<'a>, Place)> {
    let error = error_of(sighting).filter(|error| refusal(error).is_some())?;
    let target = error.quoted.destination;
    let peer = case.topology.peer_of(target).filter(|peer| peer.direct.is_none())?;
    let tables = case.topology.tables?;
    let is_on = |link: Option<&crate::evidence::Link>| {
        link.is_some_and(|link| link.name == sighting.interface)
    };
    let is_ours = |address: IpAddr| case.topology.is_own(address) || tables.is_local(address);
    if !is_ours(error.quoted.source) || target == error.sender {
        return None;
    }
    if error.sender == peer.gateway && is_on(case.topology.overlay) {
        return Some((peer, Place::There));
    }
    let is_own_host = tables.is_local(error.sender) && is_on(case.topology.bridge);
    is_own_host.then_some((peer, Place::Here))
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, place: Place, packets: u64) -> Judged {
    let cidr = peer.cidr;
    let seconds = case.evidence.window.seconds;
    let errors: BTreeSet<IcmpError> = sightings(case)
        .filter(|it| rejected(case, it).is_some_and(|(of, by)| of.cidr == cidr && by == place))
        .filter_map(error_of)
        .collect();
    let (who, check, pair) = match place {
        Place::There => (
            format!("The firewall of {}", peer.short_name()),
            format!("on {}", peer.short_name()),
            StagePair::WireToPeer,
        ),
        Place::Here => {
            ("This node's firewall".to_owned(), "here".to_owned(), StagePair::PodToOverlay)
        }
    };
    let mut evidence: Vec<String> = Vec::new();
    if let Some(first) = errors.first() {
        evidence.push(format!(
            "{packets} {} errors in {seconds:.1} s from {}, which is no pod's address",
            words(first),
            first.sender
        ));
    }
    let flows: BTreeSet<String> = errors.iter().map(|error| flow_words(&error.quoted)).collect();
    evidence.extend(flows.iter().take(NAMED).map(|flow| format!("rejected: {flow}")));
    Judged {
        finding: RULE.finding(
            format!("{who} rejects packets to pods of {}", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            evidence,
            vec![
                format!("nft list ruleset      ({check}: what rejects in the hook forward)"),
                format!(
                    "iptables-save | grep -i reject      ({check}; flannel's own chain FLANNEL-FWD must \
                     come before: restart flannel there)"
                ),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Loss(cidr, pair)]),
        explains: BTreeSet::from([Effect::Loss(cidr, pair), Effect::Silence(cidr)]),
        as_break: format!("packets to pods of {cidr}, rejected"),
    }
}
