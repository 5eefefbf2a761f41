//! Services and servers that are refused or keep silent, and are no fault of this cluster's services.

use std::net::SocketAddr;

use super::{LookAlike, PLAIN, between_pods, steady};
use crate::{
    fault::{filter::Chain, services::empty_service},
    netfilter,
    plan::{DNS_NAME, Family, Plan},
    traffic::{Flow, Sender},
};

/// The port of DNS.
const DNS: u16 = 53;
/// A resolver of whoever runs the machines, behind the gateway, which swallows what is for it.
const FAR_RESOLVER: &str = "10.251.0.53:53";
/// The same outside (RFC 5737).
const FORBIDDEN_RESOLVER: &str = "198.51.100.53:53";

pub(super) const LOOK_ALIKES: [LookAlike; 4] = [
    LookAlike {
        name: "service-scaled-down",
        summary: "kube-proxy would refuse a service without endpoints, which nobody calls",
        changes: |plan| {
            let service = empty_service(plan, Family::V4);
            let nodes = plan.nodes.iter();
            nodes.map(|node| netfilter::refusing(plan, node, service, "tcp")).collect()
        },
        ..PLAIN
    },
    LookAlike {
        name: "far-resolver-silent",
        summary: "pods ask a DNS server far away, which does not answer",
        traffic: |plan| asks(plan, FAR_RESOLVER),
        ..PLAIN
    },
    LookAlike {
        name: "outside-resolver-rejected",
        summary: "a firewall rejects what pods ask a DNS server outside, as a closed port would",
        changes: |plan| {
            let Ok(to) = FORBIDDEN_RESOLVER.parse::<SocketAddr>() else { return Vec::new() };
            let rule = format!(
                "ip daddr {} udp dport {} reject with icmpx type port-unreachable",
                to.ip(),
                DNS
            );
            plan.nodes.iter().map(|node| Chain::inet("forward").with(node, &rule)).collect()
        },
        traffic: |plan| asks(plan, FORBIDDEN_RESOLVER),
        ..PLAIN
    },
    LookAlike {
        name: "closed-port-53",
        summary: "pods try the TCP port of DNS at pods that are no DNS servers",
        traffic: |plan| {
            between_pods(plan, |from, to| {
                let to = SocketAddr::new(to.ip.of(Family::V4), DNS);
                vec![steady(&from.namespace, Flow::TcpExchange { to }, 5.0)]
            })
        },
        infos: &["pod-port-closed"],
        ..PLAIN
    },
];

/// The first pod of each node asks a server.
fn asks(plan: &Plan, server: &str) -> Vec<Sender> {
    let Ok(server) = server.parse() else { return Vec::new() };
    let pods = plan.nodes.iter().filter_map(|node| node.first_pod());
    let flow = Flow::Dns { server, name: DNS_NAME.to_owned() };
    pods.map(|pod| steady(&pod.namespace, flow.clone(), 5.0)).collect()
}
