//! A pod hangs on nothing: its veth is taken out of the bridge, or set down. The node still knows
//! its MAC for a while; here it has asked for it in vain.

use super::{Fault, ONE_POD, Strikes, Subject, pod_given_up, second_pod};
use crate::{
    plan::{Plan, Pod, Site},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "pod-veth-detached",
    code: "pod-veth-detached",
    summary: "the veth of a pod is taken out of the bridge",
    subject: Subject::Veth,
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| cut(plan, site, |pod| format!("link set {} nomaster", pod.veth)),
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let join = |pod: &Pod| format!("link set {} master {} up", pod.veth, victim.bridge);
        vec![Script::ip(&victim.namespace, second_pod(plan, site).map(join))]
    },
    ..ONE_POD
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "pod-veth-detached-down",
        summary: "the veth of a pod is set down",
        breaks: |plan, site| cut(plan, site, |pod| format!("link set {} down", pod.veth)),
        ..MODEL
    },
];

fn cut(plan: &Plan, site: Site, how: fn(&Pod) -> String) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let lines = second_pod(plan, site).into_iter().flat_map(|pod| {
        let asked = plan.families().iter().map(|family| pod_given_up(victim, pod, *family));
        [how(pod)].into_iter().chain(asked)
    });
    vec![Script::ip(&victim.namespace, lines)]
}
