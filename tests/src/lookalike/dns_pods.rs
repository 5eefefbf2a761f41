//! What resembles the pod of a DNS server that loses queries.

use super::{LookAlike, PLAIN, steady};
use crate::{
    deaf,
    plan::{DNS_NAME, Family, Plan, Pod},
    script::{Script, Tool},
    traffic::{Flow, Sender},
};

/// Of no service of the lab.
const METRICS: u16 = 8125;
const TABLE: &str = "inet fltr_dns";

pub(super) const LOOK_ALIKES: [LookAlike; 2] = [
    LookAlike {
        name: "dns-server-behind-its-filter",
        summary: "the DNS server's pod takes queries and drops all else, while many ask it",
        changes: |plan| {
            let lines = [
                format!("add table {TABLE}"),
                format!(
                    "add chain {TABLE} here {{ type filter hook input priority 0; policy drop; }}"
                ),
                format!("add rule {TABLE} here meta l4proto {{ icmp, ipv6-icmp }} accept"),
                format!("add rule {TABLE} here ct state established accept"),
                format!("add rule {TABLE} here udp dport 53 accept"),
                format!("add rule {TABLE} here tcp dport 53 accept"),
            ];
            let pod = plan.nodes[plan.dns.node].pods.last();
            pod.map(|it| Script::new(Tool::Nft, Some(&it.namespace), lines)).into_iter().collect()
        },
        traffic: |plan| {
            let server = plan.dns_server(Family::V4);
            clients(plan, || Flow::Dns { server, name: DNS_NAME.to_owned() })
        },
        ..PLAIN
    },
    LookAlike {
        name: "socket-of-no-dns-server-overflows",
        summary: "beside the DNS server's pod another takes metrics over UDP, and its socket is full",
        changes: |plan| target(plan).map(|pod| deaf::starts(pod, METRICS)).into_iter().collect(),
        traffic: |plan| {
            let Some(pod) = target(plan) else { return Vec::new() };
            let to = pod.at(Family::V4, METRICS);
            clients(plan, || Flow::UdpOneWay { to, size: 200 })
        },
        ..PLAIN
    },
];

/// The first pod of the DNS server's node.
fn target(plan: &Plan) -> Option<&Pod> {
    plan.nodes[plan.dns.node].first_pod()
}

/// From the first pod of every other node.
fn clients(plan: &Plan, flow: impl Fn() -> Flow) -> Vec<Sender> {
    let others = plan.others(plan.dns.node).into_iter().filter_map(|it| plan.nodes[it].first_pod());
    others.map(|pod| steady(&pod.namespace, flow(), 20.0)).collect()
}
