//! What clients of a service meet that nobody serves: kube-proxy refuses, its rules are gone, or the
//! server's pod does not listen. A tracer is told the service network for some of them, and each has
//! a subject of its own: they have the suite `service_faults`.

use std::net::{IpAddr, SocketAddr};

use super::{Fault, PLAIN, Reach, Severity, Subject, first_pod_sends};
use crate::{
    netfilter,
    plan::{Family, Plan, Pod, Site},
    script::{Script, Tool},
    traffic::Flow,
};

/// The port of DNS, and one on which nothing listens in the server's pod.
const DNS: u16 = 53;
const CLOSED: u16 = 54;
/// The port of the service without endpoints, and how far its address is from that of DNS.
const HTTP: u16 = 80;
const AFTER_DNS: u32 = 10;
const TABLE: &str = "fltr_closed";

const MODEL: Fault = Fault { subject: Subject::Service, reach: Reach::Nobody, there: &[], ..PLAIN };

const FAULTS: [Fault; 4] = [
    Fault {
        name: "dns-server-port-closed",
        code: "dns-server-port-closed",
        summary: "nothing listens at port 53 in the pod of the DNS server",
        nodes: 2,
        breaks: closes_port,
        heals: |plan, site| {
            let line = format!("delete table {} {TABLE}", site.family.word());
            in_server(plan, vec![line])
        },
        ..MODEL
    },
    Fault {
        name: "dns-service-no-endpoints",
        code: "dns-service-no-endpoints",
        summary: "kube-proxy refuses the DNS service, which has no ready endpoints",
        breaks: |plan, site| {
            let node = &plan.nodes[site.victim];
            vec![
                netfilter::without_dns(plan, node, site.family),
                netfilter::refusing(plan, node, dns_service(plan, site.family), "udp"),
            ]
        },
        heals: |plan, site| {
            let node = &plan.nodes[site.victim];
            vec![
                netfilter::not_refusing(plan, node, dns_service(plan, site.family), "udp"),
                netfilter::with_dns(plan, node, site.family),
            ]
        },
        ..MODEL
    },
    Fault {
        name: "service-no-endpoints",
        code: "service-no-endpoints",
        summary: "kube-proxy refuses a service that has no ready endpoints",
        severity: Severity::Warning,
        breaks: |plan, site| {
            let service = empty_service(plan, site.family);
            vec![netfilter::refusing(plan, &plan.nodes[site.victim], service, "tcp")]
        },
        heals: |plan, site| {
            let service = empty_service(plan, site.family);
            vec![netfilter::not_refusing(plan, &plan.nodes[site.victim], service, "tcp")]
        },
        traffic: |plan, site| {
            let to = empty_service(plan, site.family);
            first_pod_sends(plan, site, Flow::TcpExchange { to })
        },
        ..MODEL
    },
    Fault {
        name: "dns-service-rules-missing",
        code: "dns-service-rules-missing",
        summary: "kube-proxy's rules for the DNS service are gone",
        breaks: |plan, site| {
            vec![netfilter::without_dns(plan, &plan.nodes[site.victim], site.family)]
        },
        heals: |plan, site| vec![netfilter::with_dns(plan, &plan.nodes[site.victim], site.family)],
        ..MODEL
    },
];

/// The faults of services.
#[must_use]
pub fn of_services() -> Vec<Fault> {
    FAULTS.to_vec()
}

/// Address and port of a service that kube-proxy has no rules for but that of its refusal.
#[must_use]
pub fn empty_service(plan: &Plan, family: Family) -> SocketAddr {
    let address = match plan.dns.cluster_ip.of(family) {
        IpAddr::V4(dns) => IpAddr::V4((u32::from(dns) + AFTER_DNS).into()),
        IpAddr::V6(dns) => IpAddr::V6((u128::from(dns) + u128::from(AFTER_DNS)).into()),
    };
    SocketAddr::new(address, HTTP)
}

/// What such a fault is about.
pub(super) fn subject(plan: &Plan, site: Site, code: &str) -> String {
    match code {
        "dns-server-port-closed" => plan.dns.pod_ip.of(site.family).to_string(),
        "service-no-endpoints" => empty_service(plan, site.family).to_string(),
        _ => plan.dns.cluster_ip.of(site.family).to_string(),
    }
}

fn dns_service(plan: &Plan, family: Family) -> SocketAddr {
    plan.dns_server(family)
}

/// Sends what comes for the server's port to one where nobody listens: the kernel refuses it there, in
/// the name of the first.
fn closes_port(plan: &Plan, site: Site) -> Vec<Script> {
    let ip = site.family.word();
    let closed = SocketAddr::new(plan.dns.pod_ip.of(site.family), CLOSED);
    let to_closed = |protocol: &str| {
        format!("add rule {ip} {TABLE} here {protocol} dport {DNS} dnat to {closed}")
    };
    let lines = vec![
        format!("add table {ip} {TABLE}"),
        format!("add chain {ip} {TABLE} here {{ type nat hook prerouting priority dstnat; }}"),
        to_closed("udp"),
        to_closed("tcp"),
    ];
    in_server(plan, lines)
}

fn in_server(plan: &Plan, lines: Vec<String>) -> Vec<Script> {
    let server = plan.nodes[plan.dns.node].pods.last().into_iter();
    let script = |pod: &Pod| Script::new(Tool::Nft, Some(&pod.namespace), lines.clone());
    server.map(script).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{ProxyRules, Stack},
        seed::Shape,
    };

    #[test]
    fn each_breaks_something_in_both_modes_of_kube_proxy_and_can_be_healed() {
        for proxy_rules in [ProxyRules::Iptables, ProxyRules::Nftables] {
            let shape =
                Shape { nodes: Some(2), stack: Stack::Dual, proxy_rules, ..Shape::default() };
            let plan = Plan::draw(5, &shape);
            for family in [Family::V4, Family::V6] {
                let site = Site { family, ..plan.site };
                for fault in of_services() {
                    let scripts =
                        [(fault.breaks)(&plan, site), fault.healing(&plan, site).unwrap()];
                    for script in scripts.concat() {
                        assert!(!script.lines.is_empty(), "{}: {script:?}", fault.name);
                    }
                    assert!(!fault.here(&plan, site).key.is_empty());
                }
            }
        }
    }
}
