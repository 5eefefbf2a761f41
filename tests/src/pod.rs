//! A pod: its addresses and routes as flannel's CNI plugin gives them, and what runs in it.

use std::path::Path;

use anyhow::Result;

use crate::{
    lan::{plain_host, up},
    plan::{DNS_NAME, Node, Plan, Pod},
    process,
    script::Script,
};

/// Name of a DNS server's program; dnsmasq is in Debian's `dnsmasq-base`.
const DNSMASQ: &str = "/usr/sbin/dnsmasq";

/// Addresses and routes of a pod.
#[must_use]
pub fn scripts(plan: &Plan, node: &Node, pod: &Pod) -> Vec<Script> {
    let gateway = node.bridge_ip();
    vec![
        plain_host(&pod.namespace),
        Script::ip(
            &pod.namespace,
            [
                up("lo"),
                format!("addr add {}/{} dev eth0", pod.ip, node.subnet.prefix_len()),
                up("eth0"),
                format!("route add default via {gateway}"),
                format!("route add {} via {gateway}", plan.cluster),
            ],
        ),
    ]
}

/// Starts what listens in every pod.
///
/// # Errors
/// When it cannot be started.
pub fn start_services(pod: &Pod) -> Result<()> {
    process::spawn(&pod.namespace, &process::agent()?, &["serve"])
}

/// Starts the DNS server in its pod.
///
/// # Errors
/// When it cannot be started.
pub fn start_dns(plan: &Plan) -> Result<()> {
    let Some(pod) = plan.nodes[plan.dns.node].pods.last() else { return Ok(()) };
    let answer = plan.nodes[plan.dns.node].bridge_ip();
    let arguments = [
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--pid-file=",
        // Every query is answered by the process that listens: no cache and no upstream.
        "--cache-size=0",
        &format!("--host-record={DNS_NAME},{answer}"),
        "--address=/cluster.local/",
    ];
    process::spawn(&pod.namespace, Path::new(DNSMASQ), &arguments)
}
