//! `flanneld-memory-near-limit`: flannel has almost used up the memory that it may use; beyond that
//! the kernel kills it.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    memory,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::FlannelMemory;

pub(super) const RULE: Rule = Rule {
    code: "flanneld-memory-near-limit",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// How much of the limit is near it, in percent.
const NEAR: u64 = 80;

fn judge(case: &Case<'_>) -> Ruling {
    let memory = case.evidence.flannel.memory.as_ref();
    let near = memory.and_then(|memory| Some((memory, memory.limit_bytes.filter(|it| *it > 0)?)));
    let near = near.filter(|(memory, limit)| memory.bytes >= limit / 100 * NEAR);
    Ruling::from(near.map(|(memory, limit)| judged(case, memory, limit)))
}

fn judged(case: &Case<'_>, memory: &FlannelMemory, limit: u64) -> Judged {
    let (name, node) = (memory::program(case), &case.evidence.node.name);
    let share = memory.bytes.saturating_mul(100) / limit;
    Judged {
        finding: RULE.finding(
            format!("{name} on {node} uses {share} % of the memory that it may use"),
            case.about_node(&case.overlay_name()),
            case.before_start(),
            vec![memory::words(memory)],
            memory::raise_limit(case),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::FlannelMemory]),
        explains: BTreeSet::from([Effect::FlannelMemory]),
        as_break: format!("memory of {name} ({share} % of its limit)"),
    }
}
