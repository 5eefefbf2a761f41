//! A firewall of the node drops what it forwards between its pods and others: what they send to a
//! peer's, what comes out of the tunnel for them, or all of it. Or the bridge does, where a pod is
//! attached.

use super::{
    Fault, ONE_POD, PLAIN, Reach, Subject, filter::Chain, filter::iptables, pair, second_pod,
};
use crate::{
    netfilter,
    plan::{Plan, Pod, Site},
    script::Script,
};

/// The node itself still uses the tunnel, so something comes back from it.
const THERE: &[&str] = &["unexplained-loss", "tunnel-one-way"];

/// At the port of one pod.
const AT_PORT: Fault = Fault {
    code: "fw-drops-forwarded-pod-traffic",
    subject: Subject::Bridge,
    by_drops: true,
    ..ONE_POD
};

pub(super) const FAULTS: [Fault; 5] = [
    Fault {
        name: "fw-drops-forwarded-pod-traffic",
        code: "fw-drops-forwarded-pod-traffic",
        summary: "a firewall drops what pods send to a peer's pods in the hook forward",
        there: THERE,
        by_drops: true,
        breaks: |plan, site| {
            let (victim, peer) = pair(plan, site);
            let (version, to) = (site.family.word(), peer.subnet.of(site.family));
            let matches = format!("iifname {} {version} daddr {to}", victim.bridge);
            Chain::inet("forward").drops(plan, site, &matches)
        },
        heals: |plan, site| Chain::inet("forward").heals(plan, site),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-forwarded-pod-traffic-iptables",
        code: "fw-drops-forwarded-pod-traffic",
        summary: "a rule of iptables drops what comes from a peer's pods in the chain FORWARD, on k3s \
                  without network policies",
        there: THERE,
        by_drops: true,
        breaks: |plan, site| {
            let ready = netfilter::ready_for_policies(&plan.nodes[site.victim], site.family);
            [vec![ready], iptables(plan, site, "-I", &from_peer(plan, site))].concat()
        },
        heals: |plan, site| {
            let gone = netfilter::not_ready_for_policies(&plan.nodes[site.victim], site.family);
            [iptables(plan, site, "-D", &from_peer(plan, site)), vec![gone]].concat()
        },
        ..PLAIN
    },
    Fault {
        name: "fw-drops-forwarded-pod-traffic-all",
        code: "fw-drops-forwarded-pod-traffic",
        summary: "a firewall forwards nothing between pods here and elsewhere",
        subject: Subject::Overlay,
        reach: Reach::AllPeers,
        there: THERE,
        // Of one peer alone it is told as that peer's.
        nodes: 3,
        by_drops: true,
        breaks: |plan, site| {
            let (version, cluster) = (site.family.word(), plan.cluster.of(site.family));
            let matches = format!("{version} saddr {cluster} {version} daddr {cluster}");
            Chain::inet("forward").drops(plan, site, &matches)
        },
        heals: |plan, site| Chain::inet("forward").heals(plan, site),
        ..PLAIN
    },
    Fault {
        name: "fw-drops-forwarded-pod-traffic-to-port",
        summary: "a filter of the bridge drops what peers' pods send to a pod, at its port",
        breaks: |plan, site| at_port(plan, site, "output", "saddr", "daddr"),
        heals: |plan, site| of_bridge("output").heals(plan, site),
        ..AT_PORT
    },
    Fault {
        name: "fw-drops-forwarded-pod-traffic-from-port",
        summary: "a filter of the bridge drops what a pod sends to peers' pods, at its port",
        breaks: |plan, site| at_port(plan, site, "prerouting", "daddr", "saddr"),
        heals: |plan, site| of_bridge("prerouting").heals(plan, site),
        ..AT_PORT
    },
];

fn of_bridge(hook: &str) -> Chain {
    Chain { of: "bridge", hook: format!("{hook} priority 0") }
}

/// Drops between the second pod and those of all peers; neighbours are still found.
fn at_port(plan: &Plan, site: Site, hook: &str, theirs: &str, own: &str) -> Vec<Script> {
    let subnet = |node: usize| plan.nodes[node].subnet.of(site.family).to_string();
    let peers: Vec<String> = plan.others(site.victim).into_iter().map(subnet).collect();
    let version = site.family.word();
    let dropping = |pod: &Pod| {
        let (peers, ip) = (peers.join(", "), pod.ip.of(site.family));
        let matches = format!("{version} {theirs} {{ {peers} }} {version} {own} {ip}");
        of_bridge(hook).drops(plan, site, &matches)
    };
    second_pod(plan, site).map(dropping).unwrap_or_default()
}

fn from_peer(plan: &Plan, site: Site) -> String {
    let (victim, peer) = pair(plan, site);
    format!("FORWARD -s {} -o {}", peer.subnet.of(site.family), victim.bridge)
}
