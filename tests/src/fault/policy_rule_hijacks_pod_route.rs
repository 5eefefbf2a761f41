//! A policy rule has a VPN's table asked before table main, and a route there covers the pod
//! network: pod packets leave the uplink un-encapsulated.

use super::{Fault, PLAIN, Reach, Subject};
use crate::script::Script;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "policy-rule-hijacks-pod-route",
    code: "policy-rule-hijacks-pod-route",
    summary: "a rule has table 52 asked before main, with a route for the whole pod network",
    subject: Subject::Node,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let (cluster, via) = (plan.cluster.of(site.family), plan.lan.gateway.of(site.family));
        let route = format!("route add {cluster} via {via} dev {} table 52", victim.uplink);
        vec![
            Script::ip(&victim.namespace, [route]),
            Script::ip_of(site.family, &victim.namespace, ["rule add pref 5270 lookup 52".into()]),
        ]
    },
    heals: |plan, site| {
        let lines = ["rule del pref 5270".into(), "route flush table 52".into()];
        vec![Script::ip_of(site.family, &plan.nodes[site.victim].namespace, lines)]
    },
    ..PLAIN
}];
