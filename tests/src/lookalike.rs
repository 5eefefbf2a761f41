//! Healthy look-alikes: labs in which something looks like a fault and is none, one file each. The
//! tracer must report no finding on any of their members.

mod capture;
mod closed_ports;
mod cluster_blackhole;
mod dead_lan_host;
mod default_route_elsewhere;
mod direct_routing;
mod dns_pods;
mod firewall;
mod flannel_nftables;
mod flannel_v6_twin;
mod forwarding_by_device;
mod frames_of_bonds;
mod fresh_node;
mod ipv6_noise;
mod jumbo_uplink;
mod kube_proxy_nftables;
mod layer3_uplinks;
mod metallb_announces;
mod no_policies;
mod node_joined;
mod node_left;
mod old_link_local;
mod one_way_udp;
mod pod_macs;
mod policy_rules;
mod port_scan;
mod routable_pods;
mod second_address;
mod second_card;
mod second_vxlan;
mod services;
mod single_node;
mod stacks;
mod stale_fdb;
mod traceroute;

use anyhow::{Context as _, Result};

use crate::{
    plan::{Node, Plan, Pod},
    script::Script,
    seed::Shape,
    traffic::{Flow, Limits, Sender},
};

/// A healthy look-alike.
#[derive(Debug, Clone, Copy)]
pub struct LookAlike {
    /// What it is called.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What the lab must be like.
    pub shape: fn() -> Shape,
    /// What is changed in a new lab.
    pub changes: fn(&Plan) -> Vec<Script>,
    /// Traffic besides that between all members.
    pub traffic: fn(&Plan) -> Vec<Sender>,
    /// What a tracer may tell of it as good to know.
    pub infos: &'static [&'static str],
    /// The nodes that belong to the cluster: their pods reach each other, and a tracer on each of
    /// them finds nothing wrong.
    pub members: fn(&Plan) -> Vec<usize>,
}

/// What most look-alikes begin with: two nodes or more, no change, no traffic of their own.
const PLAIN: LookAlike = LookAlike {
    name: "",
    summary: "",
    shape: two_or_more,
    changes: |_| Vec::new(),
    traffic: |_| Vec::new(),
    infos: &[],
    members: Plan::all_nodes,
};

/// All look-alikes.
#[must_use]
pub fn all() -> Vec<LookAlike> {
    [
        single_node::LOOK_ALIKES.as_slice(),
        node_left::LOOK_ALIKES.as_slice(),
        node_joined::LOOK_ALIKES.as_slice(),
        direct_routing::LOOK_ALIKES.as_slice(),
        cluster_blackhole::LOOK_ALIKES.as_slice(),
        default_route_elsewhere::LOOK_ALIKES.as_slice(),
        policy_rules::LOOK_ALIKES.as_slice(),
        ipv6_noise::LOOK_ALIKES.as_slice(),
        one_way_udp::LOOK_ALIKES.as_slice(),
        metallb_announces::LOOK_ALIKES.as_slice(),
        stale_fdb::LOOK_ALIKES.as_slice(),
        dead_lan_host::LOOK_ALIKES.as_slice(),
        frames_of_bonds::LOOK_ALIKES.as_slice(),
        second_card::LOOK_ALIKES.as_slice(),
        fresh_node::LOOK_ALIKES.as_slice(),
        jumbo_uplink::LOOK_ALIKES.as_slice(),
        second_vxlan::LOOK_ALIKES.as_slice(),
        flannel_nftables::LOOK_ALIKES.as_slice(),
        traceroute::LOOK_ALIKES.as_slice(),
        closed_ports::LOOK_ALIKES.as_slice(),
        capture::LOOK_ALIKES.as_slice(),
        flannel_v6_twin::LOOK_ALIKES.as_slice(),
        forwarding_by_device::LOOK_ALIKES.as_slice(),
        kube_proxy_nftables::LOOK_ALIKES.as_slice(),
        old_link_local::LOOK_ALIKES.as_slice(),
        port_scan::LOOK_ALIKES.as_slice(),
        routable_pods::LOOK_ALIKES.as_slice(),
        second_address::LOOK_ALIKES.as_slice(),
        layer3_uplinks::LOOK_ALIKES.as_slice(),
        stacks::LOOK_ALIKES.as_slice(),
        firewall::LOOK_ALIKES.as_slice(),
        no_policies::LOOK_ALIKES.as_slice(),
        // Pods' MACs.
        pod_macs::LOOK_ALIKES.as_slice(),
        // DNS servers' pods.
        dns_pods::LOOK_ALIKES.as_slice(),
        // Services.
        services::LOOK_ALIKES.as_slice(),
    ]
    .concat()
}

/// A look-alike by its name.
///
/// # Errors
/// When there is none: the message lists those that there are.
pub fn named(name: &str) -> Result<LookAlike> {
    let names = || all().iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    all()
        .into_iter()
        .find(|look_alike| look_alike.name == name)
        .with_context(|| format!("no look-alike is called {name}; there are: {}", names()))
}

fn two_or_more() -> Shape {
    Shape { min_nodes: 2, ..Shape::default() }
}

/// Lines of `ip` on every node.
fn on_all_nodes(plan: &Plan, lines: impl Fn(&Node) -> Vec<String>) -> Vec<Script> {
    plan.nodes.iter().map(|node| Script::ip(&node.namespace, lines(node))).collect()
}

/// Senders from the first pod of each node to the first pod of each other node.
fn between_pods(plan: &Plan, senders: impl Fn(&Pod, &Pod) -> Vec<Sender>) -> Vec<Sender> {
    let all = plan.all_nodes().into_iter();
    all.flat_map(|from| plan.others(from).into_iter().map(move |to| (from, to)))
        .filter_map(|(from, to)| Some((plan.nodes[from].first_pod()?, plan.nodes[to].first_pod()?)))
        .flat_map(|(from, to)| senders(from, to))
        .collect()
}

fn steady(namespace: &str, flow: Flow, rate: f64) -> Sender {
    Sender { namespace: namespace.to_owned(), flow, limits: Limits::steady(rate) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_no_fault_has_one_of_them() {
        let names: HashSet<&str> = all().iter().map(|it| it.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(crate::fault::all().iter().all(|fault| !names.contains(fault.name)));
    }

    #[test]
    fn every_look_alike_has_members_and_differs_from_a_plain_lab() {
        for look_alike in all() {
            let shape = (look_alike.shape)();
            let plan = Plan::draw(11, &shape);
            assert!(!(look_alike.members)(&plan).is_empty(), "{}", look_alike.name);
            let differs = !(look_alike.changes)(&plan).is_empty()
                || !(look_alike.traffic)(&plan).is_empty()
                || format!("{shape:?}") != format!("{:?}", two_or_more());
            assert!(differs, "{}", look_alike.name);
        }
    }
}
