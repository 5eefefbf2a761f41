//! Bridge and pods have the uplink's MTU: their first large packet to each address is answered by
//! ICMP, and then they know better.

use super::{Fault, PLAIN, Reach, Severity, Strikes, Subject};
use crate::{
    plan::{Plan, Site},
    script::Script,
};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "pod-mtu-larger-than-tunnel",
    code: "pod-mtu-larger-than-tunnel",
    summary: "bridge and pods have a larger MTU than the tunnel",
    severity: Severity::Info,
    subject: Subject::Bridge,
    reach: Reach::Nobody,
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| set_mtus(plan, site, plan.lan.mtu),
    heals: |plan, site| set_mtus(plan, site, plan.pod_mtu()),
    ..PLAIN
}];

/// Gives the bridge and the pods of the victim another MTU.
pub(super) fn set_mtus(plan: &Plan, site: Site, mtu: u32) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let set = |device: &str| format!("link set {device} mtu {mtu}");
    let ports = victim.pods.iter().map(|pod| set(&pod.veth));
    let near = Script::ip(&victim.namespace, ports.chain([set(&victim.bridge)]));
    let far = victim.pods.iter().map(|pod| Script::ip(&pod.namespace, [set("eth0")]));
    std::iter::once(near).chain(far).collect()
}
