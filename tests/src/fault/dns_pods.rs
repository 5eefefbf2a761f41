//! Queries that reach the pod of a DNS server, and that the server never gets. The lab's own server is
//! on a node of its own choice: here it is any pod of the victim.

use super::{Fault, ONE_POD, Severity, Subject, second_pod};
use crate::{
    deaf,
    plan::{DNS_NAME, Plan, Site},
    script::{Script, Tool},
    traffic::{Flow, Limits, Sender},
};

const TABLE: &str = "inet fltr_dns";
const PORT: u16 = 53;
/// Clients on each other node: each waits for its answer in vain, and then asks again.
const CLIENTS: usize = 3;
/// Queries a second of one client.
const RATE: f64 = 5.0;

const MODEL: Fault = Fault {
    severity: Severity::Critical,
    subject: Subject::PodAddress,
    there: &[],
    by_drops: true,
    traffic: queries,
    ..ONE_POD
};

pub(super) const FAULTS: [Fault; 2] = [
    Fault {
        name: "dns-query-dropped-at-server",
        code: "dns-query-dropped-at-server",
        summary: "a packet filter inside the pod of a DNS server drops queries",
        breaks: |plan, site| {
            let lines = [
                format!("add table {TABLE}"),
                format!("add chain {TABLE} here {{ type filter hook input priority 0; }}"),
                format!("add rule {TABLE} here udp dport {PORT} drop"),
            ];
            filter(plan, site, &lines)
        },
        heals: |plan, site| filter(plan, site, &[format!("delete table {TABLE}")]),
        ..MODEL
    },
    Fault {
        name: "dns-server-overloaded",
        code: "dns-server-overloaded",
        summary: "a DNS server reads no more queries, and its socket is full",
        by_reasons: true,
        breaks: |plan, site| {
            second_pod(plan, site).map(|pod| deaf::starts(pod, PORT)).into_iter().collect()
        },
        heals: |plan, site| second_pod(plan, site).map(deaf::ends).into_iter().collect(),
        ..MODEL
    },
];

fn filter(plan: &Plan, site: Site, lines: &[String]) -> Vec<Script> {
    let script = |namespace: &str| Script::new(Tool::Nft, Some(namespace), lines.iter().cloned());
    second_pod(plan, site).map(|pod| script(&pod.namespace)).into_iter().collect()
}

/// From the first pod of every other node.
fn queries(plan: &Plan, site: Site) -> Vec<Sender> {
    let Some(server) = second_pod(plan, site) else { return Vec::new() };
    let flow = Flow::Dns { server: server.at(site.family, PORT), name: DNS_NAME.to_owned() };
    let clients = plan.others(site.victim).into_iter().filter_map(|it| plan.nodes[it].first_pod());
    let sender = |namespace: &String| Sender {
        namespace: namespace.clone(),
        flow: flow.clone(),
        limits: Limits::steady(RATE),
    };
    clients.flat_map(|pod| [&pod.namespace; CLIENTS]).map(sender).collect()
}
