//! The node sends to a pod by the MAC of another pod, that had the address before and is gone. What
//! the kernel had learnt it asks for anew within a minute, and heals; here the entry is permanent, as
//! who writes it by hand leaves it, so that it lasts for as long as somebody looks.

use super::{Fault, ONE_POD, Severity, Subject, second_pod};
use crate::{
    plan::{Plan, Site},
    script::Script,
};

/// A MAC that no pod of a lab has.
const GONE: &str = "02:00:00:00:de:ad";

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "pod-neighbour-stale-mac",
    code: "pod-neighbour-stale-mac",
    summary: "the node sends to a pod by the MAC of one that is gone",
    severity: Severity::Warning,
    subject: Subject::PodAddress,
    by_drops: true,
    breaks: |plan, site| {
        neighbour(plan, site, |ip, bridge| {
            format!("neigh replace {ip} lladdr {GONE} dev {bridge} nud permanent")
        })
    },
    heals: |plan, site| neighbour(plan, site, |ip, bridge| format!("neigh del {ip} dev {bridge}")),
    ..ONE_POD
}];

/// A line about the address of the pod on the victim's bridge.
fn neighbour(plan: &Plan, site: Site, line: fn(String, &str) -> String) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let lines =
        second_pod(plan, site).map(|pod| line(pod.ip.of(site.family).to_string(), &victim.bridge));
    vec![Script::ip(&victim.namespace, lines)]
}
