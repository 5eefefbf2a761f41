//! `conntrack-table-full`: the table of connections has no room, and packets of new ones are dropped.
//!
//! Packets of pods end between their veth and the bridge then, where no stage sees them.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::Conntrack;

pub(super) const RULE: Rule = Rule {
    code: "conntrack-table-full",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Kernel,
    judge,
};

const SETTING: &str = "net.netfilter.nf_conntrack_max";

fn judge(case: &Case<'_>) -> Ruling {
    let conntrack = case.evidence.statistics.as_ref().and_then(|it| it.conntrack);
    Ruling::from(conntrack.filter(is_full).map(|full| judged(case, full)))
}

/// The count may have fallen a little since the last packet was dropped.
const fn is_full(table: &Conntrack) -> bool {
    table.most > 0 && table.dropped > 0 && table.entries >= table.most - table.most / 20
}

fn judged(case: &Case<'_>, table: Conntrack) -> Judged {
    let Conntrack { entries, most, dropped, .. } = table;
    let node = &case.evidence.node.name;
    Judged {
        finding: RULE.finding(
            format!("The connection tracking table of {node} is full: new connections are dropped"),
            case.about_node(&case.overlay_name()),
            case.before_start(),
            vec![
                format!("{entries} connections of at most {most} ({SETTING})"),
                format!("{dropped} packets were dropped for want of room in this window"),
            ],
            repair(case, most),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: lost(case),
        as_break: "new connections".to_owned(),
    }
}

/// Known connections go on: only what was lost is explained.
fn lost(case: &Case<'_>) -> BTreeSet<Effect> {
    let losing = case.topology.peers.iter().filter(|peer| {
        peer.traffic.is_some_and(|it| {
            let lost = &it.lost;
            lost.pod_to_overlay + lost.overlay_to_wire + lost.wire_to_overlay + lost.overlay_to_pod
                > 0
        })
    });
    losing.flat_map(|peer| Effect::all_losses(peer.cidr)).collect()
}

/// kube-proxy sets the limit by its own configuration when it starts.
fn repair(case: &Case<'_>, most: u64) -> Vec<String> {
    let more = most.saturating_mul(2);
    let set = remedy::set_sysctl_to(case.evidence, SETTING, more);
    let note = "(kube-proxy writes its own at its start: conntrack.maxPerCore and conntrack.min of its \
                configuration; `conntrack -S` counts what is dropped)";
    vec![set, note.to_owned()]
}
