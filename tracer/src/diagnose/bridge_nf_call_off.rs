//! `bridge-nf-call-off`: what pods of one node send to each other passes iptables by. An answer from
//! a pod of the same node keeps the pod's address in place of the service's, and is refused.
//!
//! The setting is that of IPv4; the node must have rules of kube-proxy and two pods on the bridge.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    pods, remedy,
    rule::{Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Family, Link, Platform, Statistics};

pub(super) const RULE: Rule = Rule {
    code: "bridge-nf-call-off",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

const SETTING: &str = "net.bridge.bridge-nf-call-iptables";

fn judge(case: &Case<'_>) -> Ruling {
    let evidence = case.evidence;
    let (Some(tables), Some(bridge)) = (case.topology.tables, case.topology.bridge) else {
        return Ruling::default();
    };
    let statistics = evidence.statistics.as_ref().filter(|it| it.settings_read);
    let is_off = statistics.is_some_and(|it| is_off(it, bridge));
    let has_services = !evidence.intent.service_netfilter.is_empty();
    let is_ipv4 = case.topology.family == Family::V4;
    let has_pods = pods::ports(case, tables).len() > 1;
    let is_found = is_off && has_services && is_ipv4 && has_pods;
    Ruling::from(is_found.then(|| judged(case, bridge)))
}

fn is_off(statistics: &Statistics, bridge: &Link) -> bool {
    statistics.bridge_nf_call != Some(true) && !statistics.bridges_calling.contains(&bridge.name)
}

fn judged(case: &Case<'_>, bridge: &Link) -> Judged {
    let (name, node) = (&bridge.name, &case.evidence.node.name);
    let is_absent = case.evidence.statistics.as_ref().is_some_and(|it| it.bridge_nf_call.is_none());
    let setting = if is_absent {
        "the kernel's module br_netfilter is not loaded".to_owned()
    } else {
        format!("{SETTING} is 0, and {name} has not nf_call_iptables by itself")
    };
    Judged {
        finding: RULE.finding(
            format!("iptables does not see what pods of {node} send each other: services with a pod on the same node fail"),
            case.about_interface(name),
            case.before_start(),
            vec![
                setting,
                format!("services are rules here: {}", case.evidence.intent.service_netfilter.join(", ")),
            ],
            repair(case, is_absent),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: "services with a pod on the same node".to_owned(),
    }
}

fn repair(case: &Case<'_>, is_absent: bool) -> Vec<String> {
    let is_talos = case.evidence.node.platform == Platform::Talos;
    let load = (is_absent && !is_talos).then(|| "modprobe br_netfilter".to_owned());
    let set = remedy::set_sysctl(case.evidence, SETTING, 1);
    let keep = "(to keep it over a restart: br_netfilter into /etc/modules-load.d, the setting into \
                /etc/sysctl.d)";
    load.into_iter().chain([set, keep.to_owned()]).collect()
}
