//! What faults are put together from: the nodes that they concern, and scripts that several share.

use crate::{
    flannel, lan,
    plan::{Family, Node, Plan, Pod, Site, UplinkKind},
    script::{Script, Tool},
    traffic::{Flow, Limits, Sender},
};

/// Victim and peer of a site.
pub(super) fn pair(plan: &Plan, site: Site) -> (&Node, &Node) {
    (&plan.nodes[site.victim], &plan.nodes[site.peer])
}

/// The pod that a fault of one pod strikes: all nodes send to it, and other traffic does without.
pub(super) fn second_pod(plan: &Plan, site: Site) -> Option<&Pod> {
    plan.nodes[site.victim].pods.get(1)
}

/// The victim has asked for the MAC of a pod in vain, as after the first packet that nobody took: the
/// fault is older than who looks for it. Without the entry, tables that are read before that packet
/// show nothing.
pub(super) fn pod_given_up(victim: &Node, pod: &Pod, family: Family) -> String {
    format!("neigh replace {} dev {} nud failed", pod.ip.of(family), victim.bridge)
}

/// From the victim's first pod, all the time.
pub(super) fn first_pod_sends(plan: &Plan, site: Site, flow: Flow) -> Vec<Sender> {
    let pod = plan.nodes[site.victim].first_pod();
    let sender = |pod: &Pod| {
        let (namespace, limits) = (pod.namespace.clone(), Limits::steady(5.0));
        Sender { namespace, flow, limits }
    };
    pod.map(sender).into_iter().collect()
}

/// What becomes of the victim's flanneld; NODE stands for its name.
pub(super) fn flanneld(plan: &Plan, site: Site, lines: &[&str]) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let lines = lines.iter().map(|line| line.replace("NODE", &victim.name));
    vec![Script::new(Tool::Flanneld, Some(&victim.namespace), lines)]
}

/// The others have asked for the victim's MAC on the LAN in vain, in these families, and ask again.
pub(super) fn given_up(plan: &Plan, site: Site, families: &[Family]) -> Vec<Script> {
    on_others(plan, site, families, lan::give_up)
}

/// The others have just heard of the victim, and ask for its MAC on the LAN only after a while.
pub(super) fn remembered(plan: &Plan, site: Site) -> Vec<Script> {
    on_others(plan, site, plan.families(), lan::remember)
}

/// Without Ethernet nobody asks: there a neighbour entry would be one that no kernel makes, and that
/// outlives the fault.
fn on_others(
    plan: &Plan,
    site: Site,
    families: &[Family],
    line: fn(&Node, &Node, Family) -> String,
) -> Vec<Script> {
    if plan.lan.uplink == UplinkKind::Tun {
        return Vec::new();
    }
    let others = plan.others(site.victim).into_iter().map(|node| &plan.nodes[node]);
    let victim = &plan.nodes[site.victim];
    let lines = |node: &Node| {
        let line = |family: &Family| line(node, victim, *family);
        families.iter().map(line).collect::<Vec<_>>()
    };
    others.map(|node| Script::ip(&node.namespace, lines(node))).collect()
}

/// Brings the overlay device up again, with all that it has lost by being down: in IPv6 its address
/// too.
pub(super) fn up_again(plan: &Plan, site: Site) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let mut lines = vec![lan::up(&plan.overlay(site.family))];
    if site.family == Family::V6 {
        lines.push(flannel::address(plan, victim, site.family));
    }
    let mut scripts = vec![Script::ip(&victim.namespace, lines)];
    scripts.extend(flannel::peers(plan, victim, site.family));
    scripts
}

/// A node that is neither victim nor peer.
pub(super) fn third(plan: &Plan, site: Site) -> Option<&Node> {
    plan.others(site.victim).into_iter().find(|it| *it != site.peer).map(|it| &plan.nodes[it])
}
