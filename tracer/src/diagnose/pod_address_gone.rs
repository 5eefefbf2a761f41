//! `pod-address-gone`: peers send to an address of this node's pod network that no pod has.

use std::collections::BTreeSet;

use super::{
    case::Case,
    dead_pods::{DeadPod, dead_pods},
    finding::{Confidence, Severity, Subject, SubjectKind},
    pods,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};

pub(super) const RULE: Rule = Rule {
    code: "pod-address-gone",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// With more dead addresses than this somebody looks for hosts, and misses none.
const SCANNED: usize = 8;

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let dead = dead_pods(case);
    // A pod that was cut off has its address still.
    if pods::are_without_bridge(case, tables) || !pods::cut_off(case, tables).is_empty() {
        return Ruling::default();
    }
    if dead.len() > SCANNED {
        let line = format!(
            "whether {} addresses that peers call were ever pods of this node: so many are called \
             by a scan",
            dead.len()
        );
        return Ruling { judged: Vec::new(), unseen: vec![line] };
    }
    Ruling::from(dead.iter().map(|it| judged(case, it)).collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, dead: &DeadPod<'_>) -> Judged {
    let address = dead.address;
    let seconds = case.evidence.window.seconds;
    Judged {
        finding: RULE.finding(
            format!("Peers send to {address}, which is no pod of this node"),
            Subject {
                kind: SubjectKind::Flow,
                key: address.to_string(),
                address: Some(address),
                cidr: case.topology.own_cidrs.iter().find(|it| it.contains(&address)).copied(),
                ..case.about_interface(&dead.bridge.name)
            },
            case.in_window(),
            vec![dead.told(seconds), format!("every pod's veth is in {}", dead.bridge.name)],
            vec![
                format!("kubectl get endpointslices -A -o wide | grep -F {address}"),
                format!("conntrack -D -d {address}      (where a client keeps an old connection)"),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Undelivered(address)]),
        explains: BTreeSet::from([Effect::Undelivered(address)]),
        as_break: format!("address {address}"),
    }
}
