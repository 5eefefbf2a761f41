//! What flanneld writes into a node: the overlay device, and three entries for each peer.

use std::net::Ipv4Addr;

use crate::{
    lan::up,
    plan::{Mac, Node, Plan},
    script::Script,
};

/// The overlay device with its address, up; IPv6 stays enabled, as on real nodes.
#[must_use]
pub fn device(plan: &Plan, node: &Node) -> Vec<String> {
    device_at(plan, node, node.ip, &node.uplink)
}

/// The overlay device, sending from another address and bound to another device.
#[must_use]
pub fn device_at(plan: &Plan, node: &Node, local: Ipv4Addr, lower: &str) -> Vec<String> {
    let overlay = plan.overlay();
    vec![
        format!(
            "link add {overlay} address {} mtu {} type vxlan id {} local {} dev {} dstport {} \
             nolearning",
            node.vtep_mac,
            plan.pod_mtu(),
            plan.vni,
            local,
            lower,
            plan.port
        ),
        format!("addr add {}/32 dev {overlay}", node.flannel_ip()),
        up(&overlay),
    ]
}

/// The entries for the peers that a node has, in the order that the plan draws. flanneld writes
/// neighbour, FDB entry, route, one peer after the other; here all neighbours come first, because
/// one batch of `ip` is many times faster than a process for each peer.
#[must_use]
pub fn peers(plan: &Plan, node: &Node) -> Vec<Script> {
    let peers = || node.peer_order.iter().map(|peer| &plan.nodes[*peer]);
    vec![
        Script::ip(&node.namespace, peers().map(|peer| neighbour(plan, peer))),
        Script::bridge(&node.namespace, peers().map(|peer| fdb_entry(plan, peer))),
        Script::ip(&node.namespace, peers().map(|peer| route(plan, peer))),
    ]
}

/// Device and entries, as a restart of flanneld brings them back.
#[must_use]
pub fn restart(plan: &Plan, node: &Node) -> Vec<Script> {
    let mut scripts = vec![Script::ip(&node.namespace, device(plan, node))];
    scripts.extend(peers(plan, node));
    scripts
}

/// The neighbour entry for a peer's overlay address.
#[must_use]
pub fn neighbour(plan: &Plan, peer: &Node) -> String {
    neighbour_with(plan, peer, peer.vtep_mac)
}

/// The neighbour entry for a peer's overlay address with any MAC.
#[must_use]
pub fn neighbour_with(plan: &Plan, peer: &Node, mac: Mac) -> String {
    let (ip, overlay) = (peer.flannel_ip(), plan.overlay());
    format!("neigh replace {ip} lladdr {mac} dev {overlay} nud permanent")
}

/// The FDB entry for a peer's overlay MAC.
#[must_use]
pub fn fdb_entry(plan: &Plan, peer: &Node) -> String {
    let (mac, ip) = (peer.vtep_mac, peer.ip);
    format!("fdb replace {mac} dev {} dst {ip} self permanent", plan.overlay())
}

/// The route to a peer's pod CIDR.
#[must_use]
pub fn route(plan: &Plan, peer: &Node) -> String {
    let (subnet, via) = (peer.subnet, peer.flannel_ip());
    format!("route replace {subnet} via {via} dev {} onlink", plan.overlay())
}

/// Removes what a node holds for one peer, as flanneld does when the peer's Node object goes.
#[must_use]
pub fn forget(plan: &Plan, node: &Node, peer: &Node) -> Vec<Script> {
    let overlay = plan.overlay();
    vec![
        Script::ip(
            &node.namespace,
            [
                format!("route del {} dev {overlay}", peer.subnet),
                format!("neigh del {} dev {overlay}", peer.flannel_ip()),
            ],
        ),
        Script::bridge(
            &node.namespace,
            [format!("fdb del {} dev {overlay} dst {} self", peer.vtep_mac, peer.ip)],
        ),
    ]
}

/// Writes what a node holds for one peer.
#[must_use]
pub fn learn(plan: &Plan, node: &Node, peer: &Node) -> Vec<Script> {
    vec![
        Script::ip(&node.namespace, [neighbour(plan, peer)]),
        Script::bridge(&node.namespace, [fdb_entry(plan, peer)]),
        Script::ip(&node.namespace, [route(plan, peer)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Shape;

    #[test]
    fn every_peer_gets_three_entries_in_the_drawn_order() {
        let plan = Plan::draw(3, &Shape { nodes: Some(4), ..Shape::default() });
        let node = &plan.nodes[0];
        for script in peers(&plan, node) {
            assert_eq!(script.lines.len(), 3, "{script:?}");
        }
        let first = &plan.nodes[node.peer_order[0]];
        assert!(peers(&plan, node)[2].lines[0].contains(&first.subnet.to_string()));
    }
}
