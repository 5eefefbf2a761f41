//! `flanneld-not-running`: no process that contains flannel runs in this node's network namespace.
//! Packets go on by what it wrote, but what changes at the peers is no longer followed.
//!
//! Who does not see all processes of the node does not know: `FlannelProcess::Unknown`. The bridge
//! must hold pods: what is left over of a flannel that was replaced needs none.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    pods, remedy,
    rule::{Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::FlannelProcess,
    topology::{other_backend, signs_of_flannel},
};

pub(super) const RULE: Rule = Rule {
    code: "flanneld-not-running",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let is_missing = case.evidence.flannel.process == FlannelProcess::None;
    let is_in_use = case.topology.overlay.is_some() && !pods::ports(case, tables).is_empty();
    if !is_missing || !is_in_use || other_backend(tables, case.topology.intent).is_some() {
        return Ruling::default();
    }
    let signs = signs_of_flannel(tables, case.topology.intent);
    Ruling::from((!signs.is_empty()).then(|| judged(case, &signs)))
}

fn judged(case: &Case<'_>, signs: &[String]) -> Judged {
    let node = &case.evidence.node.name;
    let overlay = case.overlay_name();
    let killed = case.evidence.flannel.last_kill.as_ref().map(|kill| {
        format!(
            "the kernel's log: a {} (of this or another container) was killed for want of memory at {}",
            kill.name, kill.time
        )
    });
    let evidence = [
        "none of flanneld, kube-flannel, k3s, rke2 runs in this node's network namespace"
            .to_owned(),
        format!("it is a flannel node with pods: {}", signs.join("; ")),
    ];
    let note = "what flannel wrote works on without it; peers that join, leave or change are not \
                followed until it runs; its log says why it does not stay";
    Judged {
        finding: RULE.finding(
            format!("flannel is not running on {node}: changes of peers are not followed"),
            case.about_node(&overlay),
            case.before_start(),
            evidence.into_iter().chain(killed).collect(),
            remedy::restart_with_note(case.evidence, note),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: "flannel's process".to_owned(),
    }
}
