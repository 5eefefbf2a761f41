//! `fw-rejects-vxlan`: a firewall answers this node's tunnel packets with "prohibited". The answer
//! goes to the node, never to the pod, which only waits.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{Refusal, refusal, refused_tunnels, words},
};
use crate::{evidence::IcmpError, topology::Peer};

pub(super) const RULE: Rule = Rule {
    code: "fw-rejects-vxlan",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let refused = refused_tunnels(case, |it| refusal(it) == Some(Refusal::Prohibited)).into_iter();
    let judged = refused.map(|(peer, error, packets)| judged(case, peer, &error, packets));
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, error: &IcmpError, packets: u64) -> Judged {
    let (cidr, port, sender) = (peer.cidr, error.quoted.destination_port, error.sender);
    let node = error.quoted.destination;
    let seconds = case.evidence.window.seconds;
    let (who, check) = if sender == node {
        (format!("the node of {}", peer.label()), format!("on {}", peer.short_name()))
    } else {
        (format!("{sender}, on the way to {},", peer.label()), format!("on {sender}"))
    };
    Judged {
        finding: RULE.finding(
            format!("A firewall of {who} rejects UDP {port}"),
            case.about_peer(peer),
            case.in_window(),
            vec![format!(
                "{packets} {} errors came from {sender} in {seconds:.1} s, about this node's own packets \
                 to {node}, UDP {port}",
                words(error)
            )],
            vec![
                format!("nft list ruleset      ({check}: what rejects UDP {port})"),
                format!(
                    "firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload      \
                     (where firewalld runs; ufw: ufw allow {port}/udp)"
                ),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Refused(cidr)]),
        explains: Effect::between_tunnel_ends(cidr).collect(),
        as_break: format!("UDP {port} of {node}"),
    }
}
