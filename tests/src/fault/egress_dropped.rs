//! A firewall of the node drops what its pods send to addresses outside the cluster.

use std::net::SocketAddr;

use super::{Fault, PLAIN, Reach, Severity, Subject, filter::Chain, first_pod_sends};
use crate::{plan::Family, traffic::Flow};

/// Addresses of documentation (RFC 5737, RFC 3849): the gateway swallows what is for them.
const OUTSIDE: [&str; 2] = ["198.51.100.7:4000", "[2001:db8:57::7]:4000"];

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "egress-dropped",
    code: "egress-dropped",
    summary: "a firewall drops what pods send to the outside in the hook forward",
    severity: Severity::Warning,
    subject: Subject::Node,
    reach: Reach::Nobody,
    by_drops: true,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let (own, cluster) = (victim.subnet.of(site.family), plan.cluster.of(site.family));
        let version = site.family.word();
        let matches = format!("{version} saddr {own} {version} daddr != {cluster}");
        Chain::inet("forward").drops(plan, site, &matches)
    },
    heals: |plan, site| Chain::inet("forward").heals(plan, site),
    traffic: |plan, site| {
        let outside = match site.family {
            Family::V4 => OUTSIDE[0],
            Family::V6 => OUTSIDE[1],
        };
        let Ok(to) = outside.parse::<SocketAddr>() else { return Vec::new() };
        first_pod_sends(plan, site, Flow::UdpEcho { to })
    },
    ..PLAIN
}];
