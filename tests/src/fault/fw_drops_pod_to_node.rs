//! A firewall of the node keeps its pods from the node itself.

use super::{Fault, PLAIN, Reach, Severity, Subject, filter::Chain, first_pod_sends};
use crate::traffic::Flow;

const TTL: u8 = 64;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "fw-drops-pod-to-node",
    code: "fw-drops-pod-to-node",
    summary: "a firewall drops what pods send to their node in the hook input",
    severity: Severity::Warning,
    subject: Subject::Node,
    reach: Reach::Nobody,
    by_drops: true,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let (version, own) = (site.family.word(), victim.subnet.of(site.family));
        let matches = format!("iifname {} {version} saddr {own}", victim.bridge);
        Chain::inet("input").drops(plan, site, &matches)
    },
    heals: |plan, site| Chain::inet("input").heals(plan, site),
    traffic: |plan, site| {
        let node = plan.nodes[site.victim].end(site.family).bridge_ip();
        first_pod_sends(plan, site, Flow::Ping { to: node, ttl: TTL })
    },
    ..PLAIN
}];
