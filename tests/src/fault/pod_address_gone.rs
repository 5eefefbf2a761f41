//! A pod is gone, and clients keep calling its address. Its veth is in the bridge still, as that of
//! another pod would be; the address is nobody's.

use super::{Fault, ONE_POD, Severity, Subject, pod_given_up, second_pod};
use crate::{pod, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "pod-address-gone",
    code: "pod-address-gone",
    summary: "clients call the address of a pod that is gone",
    severity: Severity::Warning,
    subject: Subject::PodAddress,
    breaks: |plan, site| {
        let Some(pod) = second_pod(plan, site) else { return Vec::new() };
        let (victim, family) = (&plan.nodes[site.victim], site.family);
        let (ip, length) = (pod.ip.of(family), victim.subnet.of(family).prefix_len());
        vec![
            Script::ip(&pod.namespace, [format!("addr del {ip}/{length} dev eth0")]),
            Script::ip(&victim.namespace, [pod_given_up(victim, pod, family)]),
        ]
    },
    heals: |plan, site| {
        let Some(pod) = second_pod(plan, site) else { return Vec::new() };
        let (victim, family) = (&plan.nodes[site.victim], site.family);
        let lines = pod::routes(plan, victim, family);
        let lines = [pod::address(victim, pod, family)].into_iter().chain(lines);
        vec![Script::ip(&pod.namespace, lines)]
    },
    ..ONE_POD
}];
