//! `fdb-entry-dead-node-ip`: the FDB sends a peer's packets to an address that no node has, while
//! the peer's node is another.

use super::{
    case::Case,
    finding::{Confidence, Severity},
    misdirected::{Misdirected, misdirected, undecided},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};

pub(super) const RULE: Rule = Rule {
    code: "fdb-entry-dead-node-ip",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Intent,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let all = misdirected(case).into_iter().filter(|it| it.moved.is_none());
    Ruling { judged: all.map(|it| judged(case, it)).collect(), unseen: undecided(case) }
}

fn judged(case: &Case<'_>, it: Misdirected<'_, '_>) -> Judged {
    let Misdirected { peer, intent, written, signs, proof, .. } = it;
    let cidr = peer.cidr;
    let overlay = case.overlay_name();
    let names = format!(
        "the FDB entry of {overlay} for {cidr} names {written}, {} names {}; {written} is no node's",
        intent.source, intent.node_ip
    );
    let mut repair = vec![format!(
        "(on {}: correct the address that flannel announces, its annotation public-ip or --iface, \
         with k3s --flannel-iface or --node-external-ip, and restart flannel there; else on this \
         node:)",
        peer.short_name()
    )];
    repair.extend(remedy::restart_flannel(case.evidence));
    Judged {
        finding: RULE.finding(
            format!("Packets of {} go to {written}, which is no node", peer.label()),
            case.about_peer(peer),
            case.after_age(peer.fdb.and_then(|entry| entry.updated_age)),
            [vec![names], proof].concat(),
            repair,
        ),
        rank: RULE.rank,
        supports: signs,
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("node address of {cidr}"),
    }
}
