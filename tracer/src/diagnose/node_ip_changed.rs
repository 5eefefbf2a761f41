//! `node-ip-changed-peers-stale`: the node of a peer lives at another address than the one to which
//! its packets go, and nothing comes from its tunnel: it moved, and flannel there did not follow.

use super::{
    case::Case,
    finding::{Confidence, Severity},
    misdirected::{Misdirected, misdirected},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};

pub(super) const RULE: Rule = Rule {
    code: "node-ip-changed-peers-stale",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Intent,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let judged = misdirected(case).into_iter().filter_map(|it| {
        let because = it.moved.clone()?;
        Some(judged(case, it, &because))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, it: Misdirected<'_, '_>, because: &str) -> Judged {
    let Misdirected { peer, intent, written, signs, proof, .. } = it;
    let (cidr, node, name) = (peer.cidr, intent.node_ip, peer.short_name());
    let names = format!(
        "the FDB entry of {} for {cidr} names {written}, {} names {node}",
        case.overlay_name(),
        intent.source
    );
    let lives = format!("the node {because}, and nothing comes from its tunnel");
    Judged {
        finding: RULE.finding(
            format!("The node of {} moved from {written} to {node}", peer.label()),
            case.about_peer(peer),
            case.after_age(peer.fdb.and_then(|entry| entry.updated_age)),
            [vec![names, lives], proof].concat(),
            vec![
                format!(
                    "flannel-tracer check      (on {name}: its tunnel still sends from {written})"
                ),
                format!("(restart flannel on {name}: it announces {node}, and all peers follow)"),
            ],
        ),
        rank: RULE.rank,
        supports: signs,
        explains: Effect::beyond_overlay(cidr).collect(),
        as_break: format!("node address of {cidr}"),
    }
}
