//! A pod: its addresses and routes as flannel's CNI plugin gives them, and what runs in it.

use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    lan::{add_address, plain_host, up},
    plan::{DNS_NAME, Family, Node, Plan, Pod},
    process,
    script::Script,
};

/// Name of a DNS server's program; dnsmasq is in Debian's `dnsmasq-base`.
const DNSMASQ: &str = "/usr/sbin/dnsmasq";

/// Addresses and routes of a pod.
#[must_use]
pub fn scripts(plan: &Plan, node: &Node, pod: &Pod) -> Vec<Script> {
    let families = || plan.families().iter();
    // Routes last: IPv6 takes none that leads over an address which is not there yet.
    let lines = [up("lo")]
        .into_iter()
        .chain(families().map(|family| address(node, pod, *family)))
        .chain([up("eth0")])
        .chain(families().flat_map(|family| routes(plan, node, *family)));
    vec![plain_host(&pod.namespace), Script::ip(&pod.namespace, lines)]
}

/// Gives a pod its address of a family.
#[must_use]
pub fn address(node: &Node, pod: &Pod, family: Family) -> String {
    let length = node.subnet.of(family).prefix_len();
    add_address(IpNet::new_assert(pod.ip.of(family), length), "eth0")
}

/// The routes of a pod in a family.
#[must_use]
pub fn routes(plan: &Plan, node: &Node, family: Family) -> [String; 2] {
    let gateway = node.end(family).bridge_ip();
    [
        format!("route replace default via {gateway}"),
        format!("route replace {} via {gateway}", plan.cluster.of(family)),
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
    let node = &plan.nodes[plan.dns.node];
    let answers = plan.families().iter().map(|it| format!(",{}", node.end(*it).bridge_ip()));
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
        &format!("--host-record={DNS_NAME}{}", answers.collect::<String>()),
        "--address=/cluster.local/",
    ];
    process::spawn(&pod.namespace, Path::new(DNSMASQ), &arguments)
}
