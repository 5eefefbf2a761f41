//! `tunnel-one-way`: packets that ask for an answer leave for a peer, and nothing comes back.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    life,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    silence::silent_peers,
};
use crate::{evidence::PeerTraffic, topology::Peer};

pub(super) const RULE: Rule = Rule {
    code: "tunnel-one-way",
    severity: Severity::Critical,
    confidence: Confidence::Likely,
    rank: Rank::Inferred,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let silent = silent_peers(case).into_iter();
    Ruling::from(silent.map(|(peer, traffic)| judged(case, peer, traffic)).collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, traffic: &PeerTraffic) -> Judged {
    let cidr = peer.cidr;
    let seconds = case.evidence.window.seconds;
    let port = case.topology.overlay.and_then(|link| link.vxlan.as_ref()).map(|vxlan| vxlan.port);
    let port = port.map_or_else(|| "the tunnel port".to_owned(), |port| format!("UDP {port}"));
    Judged {
        finding: RULE.finding(
            format!("Packets leave for {}, none come back", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            vec![
                format!(
                    "{} encapsulated packets left in {seconds:.1} s, {} of them ask for an answer; \
                     none came in from there",
                    traffic.packets.wire_out, traffic.asking_out
                ),
                format!("{}; {}", tables_say(case, peer), life_says(case, peer)),
            ],
            vec![
                format!(
                    "flannel-tracer check      (on {}: its tables may be wrong)",
                    peer.short_name()
                ),
                format!("(else the network or a firewall between the nodes drops {port})"),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Silence(cidr)]),
        explains: BTreeSet::from([Effect::Silence(cidr)]),
        as_break: format!("answers from {cidr}"),
    }
}

/// What this node's own entries are worth.
fn tables_say(case: &Case<'_>, peer: &Peer<'_>) -> String {
    let destination = peer.fdb.and_then(|entry| entry.destination);
    let disagrees = |node_ip| destination.is_some_and(|destination| destination != node_ip);
    match peer.intent {
        _ if case.topology.tables.is_none() => "the tables of this node were not read".to_owned(),
        Some(intent) if disagrees(intent.node_ip) => format!(
            "the FDB entry of this node disagrees with {}, which names {}",
            intent.source, intent.node_ip
        ),
        _ if peer.overlay_route.is_some() && peer.resolved().is_some() && destination.is_some() => {
            "the tables of this node are right for it".to_owned()
        }
        _ => "the tables of this node are not complete for it".to_owned(),
    }
}

/// What is known of the node of the peer itself.
fn life_says(case: &Case<'_>, peer: &Peer<'_>) -> String {
    match life::of(case, peer).because {
        Some(because) => format!("its node {because}"),
        None => "whether its node is alive was not checked".to_owned(),
    }
}
