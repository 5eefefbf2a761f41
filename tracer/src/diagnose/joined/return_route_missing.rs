//! `return-route-missing-on-peer`: a node hears nothing from a peer, because the peer has no route
//! back.

use super::across::At;
use crate::diagnose::{
    finding::{Confidence, Finding, Severity},
    pod_route_missing,
    rule::{Rank, Rule, Ruling},
};

pub(super) const RULE: Rule = Rule {
    code: "return-route-missing-on-peer",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    // One node alone does not know it.
    judge: |_| Ruling { judged: Vec::new(), unseen: Vec::new() },
};

/// Whether the peer's proof is that it has no route to one of this node's pod CIDRs.
pub(super) fn is_it(felt: At<'_>, proof: At<'_>) -> bool {
    let cidr = proof.finding.subject.cidr;
    proof.finding.code == pod_route_missing::RULE.code
        && cidr.is_some_and(|cidr| felt.member.owns(cidr))
}

/// The finding of the node that hears nothing.
pub(super) fn finding(felt: At<'_>, peer: &str, proof: At<'_>) -> Finding {
    let there = &proof.member.label;
    let back = proof.finding.subject.cidr.map(|it| it.to_string()).unwrap_or_default();
    let mut evidence = felt.finding.evidence.clone();
    evidence.truncate(1);
    evidence.extend(proof.finding.evidence.iter().map(|line| format!("on {there}: {line}")));
    let mut remedy = proof.finding.remedy.clone();
    remedy.insert(1.min(remedy.len()), format!("(on {there})"));
    Finding {
        breaks: felt.finding.breaks.clone(),
        ..RULE.finding(
            format!("{peer} has no route back to {back}"),
            felt.finding.subject.clone(),
            proof.finding.since.clone(),
            evidence,
            remedy,
        )
    }
}
