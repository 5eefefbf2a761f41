//! `flanneld-oom-killed`: the kernel killed flannel for want of memory. What it wrote outlives it:
//! this explains changes that were missed, and no entry that is gone.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Precision, Severity, Since},
    memory,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{FlannelMemory, FlannelProcess, OomKill};

pub(super) const RULE: Rule = Rule {
    code: "flanneld-oom-killed",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Table,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let flannel = &case.evidence.flannel;
    // Version 1 of the cgroups counts nothing of a pod's former containers; the log has them.
    let is_killed = |it: &&FlannelMemory| it.oom_kills > 0 || it.last_oom.is_some();
    let Some(memory) = flannel.memory.as_ref().filter(is_killed) else { return Ruling::default() };
    // The log's line is of this cgroup where `last_oom` is.
    let kill = flannel.last_kill.as_ref().filter(|_| memory.last_oom.is_some());
    // The unit of k3s or RKE2 holds other programs too: only the log tells which was killed.
    let is_flannels = flannel.process == FlannelProcess::Flanneld || kill.is_some();
    Ruling::from(is_flannels.then(|| judged(case, memory, kill)))
}

fn judged(case: &Case<'_>, memory: &FlannelMemory, kill: Option<&OomKill>) -> Judged {
    let (name, node) = (memory::program(case), &case.evidence.node.name);
    let counted = (memory.oom_kills > 0).then(|| {
        format!("kills for want of memory in its cgroup {}: {}", memory.cgroup, memory.oom_kills)
    });
    let logged = kill.map(|kill| {
        let whose = if kill.by_limit { "its cgroup's limit" } else { "the machine's memory" };
        format!(
            "the kernel's log: {} (pid {}) was killed at {}, at the end of {whose}",
            kill.name, kill.pid, kill.time
        )
    });
    let used = memory::words(memory);
    let title = match kill {
        Some(_) => format!("{name} was killed for want of memory on {node}"),
        None => format!("The cgroup of {name} lost a process for want of memory on {node}"),
    };
    Judged {
        finding: RULE.finding(
            title,
            case.about_node(&case.overlay_name()),
            since(case, kill),
            counted.into_iter().chain(logged).chain([used]).collect(),
            memory::raise_limit(case),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::from([Effect::FlannelMemory]),
        as_break: format!("memory of {name}"),
    }
}

fn since(case: &Case<'_>, kill: Option<&OomKill>) -> Since {
    let Some(kill) = kill else { return case.before_start() };
    Since { time: Some(kill.time), precision: Precision::Exact, ..case.before_start() }
}
