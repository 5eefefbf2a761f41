//! Whether kube-proxy has rules for DNS servers' addresses: asked only of those to which queries are
//! dropped on this node, since in a large cluster that is some thousand rules to look through.

use std::net::IpAddr;

use tracer::{
    evidence::{DropPlace, Evidence},
    netlink,
};

/// IANA's number of UDP, and its port of DNS.
const UDP: u8 = 17;
const PORT: u16 = 53;

/// Asks, and fills in the answers; why there is none is told as unseen.
pub(super) fn fill(evidence: &mut Evidence) {
    let drops = evidence.drops.iter().flat_map(|drops| &drops.entries);
    let here = drops.filter(|drop| drop.place == DropPlace::Node).filter_map(|drop| drop.flow);
    let dropped: Vec<IpAddr> = here
        .filter(|flow| (flow.protocol, flow.destination_port) == (UDP, PORT))
        .map(|flow| flow.destination)
        .collect();
    let servers = evidence.dns.iter_mut().flat_map(|dns| &mut dns.servers);
    let mut servers: Vec<_> = servers
        .filter_map(|server| Some((server.server?, server)))
        .filter(|(address, _)| dropped.contains(address))
        .collect();
    if servers.is_empty() {
        return;
    }
    let addresses: Vec<IpAddr> = servers.iter().map(|(address, _)| *address).collect();
    match netlink::service_rules(&addresses) {
        Ok(rules) => {
            for (address, server) in &mut servers {
                server.has_service_rules = rules.get(address).map(|it| it.named);
            }
        }
        Err(error) => evidence.unseen.push(format!("kube-proxy's rules for DNS: {error:#}")),
    }
}
