//! The default route is gone: pods reach each other, and nothing outside.

use ipnet::IpNet;

use super::{Fault, PLAIN, Reach, Severity, Subject};
use crate::{
    node,
    plan::{Plan, Site},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "default-route-missing",
    code: "default-route-missing",
    summary: "the default route is deleted",
    severity: Severity::Warning,
    subject: Subject::Uplink,
    reach: Reach::Nobody,
    there: &[],
    breaks: |plan, site| {
        let line = node::no_default_route(site.family);
        vec![Script::ip(&plan.nodes[site.victim].namespace, [line])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        vec![Script::ip(&victim.namespace, [node::default_route(plan, victim, site.family)])]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "default-route-missing-with-peers",
        summary: "the routes of the uplink are deleted: that of its network, and the default route",
        severity: Severity::Critical,
        reach: Reach::AllPeers,
        there: &["tunnel-one-way"],
        ethernet_only: Some("without Ethernet each node has a route of its own"),
        breaks: |plan, site| {
            let line = format!("route del {}", network(plan, site));
            [
                (MODEL.breaks)(plan, site),
                vec![Script::ip(&plan.nodes[site.victim].namespace, [line])],
            ]
            .concat()
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let line = format!("route replace {} dev {}", network(plan, site), victim.uplink);
            [vec![Script::ip(&victim.namespace, [line])], (MODEL.heals)(plan, site)].concat()
        },
        ..MODEL
    },
];

/// The network of the nodes.
fn network(plan: &Plan, site: Site) -> IpNet {
    plan.lan.network.of(site.family)
}
