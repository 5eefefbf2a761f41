//! `pod-veth-detached`: the veth of a pod is in no bridge, or down, while packets for a pod find
//! nobody on the bridge.

use std::collections::BTreeSet;

use super::{
    case::Case,
    dead_pods::{DeadPod, dead_pods},
    finding::{Confidence, Severity, Subject},
    pods,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::Link;

pub(super) const RULE: Rule = Rule {
    code: "pod-veth-detached",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let dead = dead_pods(case);
    if dead.is_empty() || pods::are_without_bridge(case, tables) {
        return Ruling::default();
    }
    let cut_off = pods::cut_off(case, tables);
    // Which pod is behind which veth only the pods know.
    let is_one = cut_off.len() == 1;
    let judged = cut_off.into_iter().map(|veth| judged(case, veth, &dead, is_one));
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, veth: &Link, dead: &[DeadPod<'_>], is_one: bool) -> Judged {
    let (name, bridge) = (&veth.name, &dead[0].bridge.name);
    let state = if veth.master.is_none() { "has no bridge as master" } else { "is down" };
    let effects = dead.iter().map(|it| Effect::Undelivered(it.address));
    let effects: BTreeSet<Effect> = effects.collect();
    let seconds = case.evidence.window.seconds;
    let told = dead.iter().map(|it| it.told(seconds));
    let repair = format!("ip link set {name} master {bridge} up");
    Judged {
        finding: RULE.finding(
            format!("{name}, the veth of a pod, {state}"),
            Subject {
                address: dead.first().filter(|_| is_one && dead.len() == 1).map(|it| it.address),
                ..case.about_interface(name)
            },
            case.before_start(),
            [format!("{name} {state}, and its other end is in a pod")]
                .into_iter()
                .chain(told)
                .collect(),
            vec![
                repair,
                "(or restart the pod; keep NetworkManager and systemd-networkd off veth*)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: effects.clone(),
        explains: effects,
        as_break: format!("pod behind {name}"),
    }
}
