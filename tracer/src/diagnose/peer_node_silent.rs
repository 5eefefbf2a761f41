//! `peer-node-silent`: packets leave for a peer, nothing comes back, and its node shows no life: it
//! answers no ARP though its MAC is still known, or a router says that it is not there.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    life,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    silence::silent_peers,
    underlay::destination,
};
use crate::{evidence::PeerTraffic, topology::Peer};

pub(super) const RULE: Rule = Rule {
    code: "peer-node-silent",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// That nothing is known of a node is no proof: then it is `tunnel-one-way`.
fn judge(case: &Case<'_>) -> Ruling {
    let judged = silent_peers(case).into_iter().filter_map(|(peer, traffic)| {
        let life = life::of(case, peer);
        let because = life.because.filter(|_| life.is_alive == Some(false))?;
        Some(judged(case, peer, traffic, &because))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, traffic: &PeerTraffic, because: &str) -> Judged {
    let cidr = peer.cidr;
    let seconds = case.evidence.window.seconds;
    let node = destination(peer).or(peer.node_ip);
    let node = node.map_or_else(|| peer.short_name(), |node| node.to_string());
    Judged {
        finding: RULE.finding(
            format!("The node of {} shows no sign of life", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            vec![
                format!(
                    "{} encapsulated packets left for it in {seconds:.1} s, and none came from there",
                    traffic.packets.wire_out
                ),
                format!("its node {because}"),
            ],
            vec![
                format!("ping -c 3 {node}      (to see it again)"),
                "(the node is down or hangs, or the path to it is broken)".to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Silence(cidr)]),
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("answers from {cidr}"),
    }
}
