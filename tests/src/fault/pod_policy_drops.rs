//! A packet filter inside a pod drops what is for it. Neighbour discovery, which is IPv6 too, goes on:
//! who asks for the pod's MAC finds it.

use super::{Fault, ONE_POD, Severity, Subject, second_pod};
use crate::{
    plan::{Family, Plan, Site},
    script::{Script, Tool},
};

const TABLE: &str = "inet fltr_policy";

const MODEL: Fault = Fault {
    name: "pod-policy-drops",
    code: "pod-policy-drops",
    summary: "a packet filter inside a pod drops all that is for it",
    severity: Severity::Warning,
    subject: Subject::PodAddress,
    by_drops: true,
    breaks: |plan, site| {
        let meant = match site.family {
            Family::V4 => "meta nfproto ipv4",
            Family::V6 => "meta nfproto ipv6 icmpv6 type != { 135, 136 }",
        };
        let lines = [
            format!("add table {TABLE}"),
            format!("add chain {TABLE} here {{ type filter hook input priority 0; }}"),
            format!("add rule {TABLE} here {meant} drop"),
        ];
        in_pod(plan, site, Tool::Nft, &lines)
    },
    heals: |plan, site| in_pod(plan, site, Tool::Nft, &[format!("delete table {TABLE}")]),
    ..ONE_POD
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "pod-policy-drops-iptables",
        summary: "a sidecar's iptables rule inside a pod drops all that is for it",
        families: &[Family::V4],
        breaks: |plan, site| in_pod(plan, site, Tool::Iptables, &table("-A INPUT -j DROP")),
        heals: |plan, site| in_pod(plan, site, Tool::Iptables, &table("-D INPUT -j DROP")),
        ..MODEL
    },
];

fn table(line: &str) -> [String; 3] {
    ["*filter", line, "COMMIT"].map(str::to_owned)
}

fn in_pod(plan: &Plan, site: Site, tool: Tool, lines: &[String]) -> Vec<Script> {
    let pod = second_pod(plan, site).into_iter();
    pod.map(|pod| Script::new(tool, Some(&pod.namespace), lines.iter().cloned())).collect()
}
