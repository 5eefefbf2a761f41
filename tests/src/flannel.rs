//! What flanneld writes into a node: the overlay device of each family, and three entries in it for
//! each peer.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    lan::{add_address, up},
    plan::{Family, Mac, Node, Plan},
    script::Script,
};

/// The overlay devices with their addresses, up; IPv6 stays enabled, as on real nodes.
#[must_use]
pub fn devices(plan: &Plan, node: &Node) -> Vec<String> {
    plan.families().iter().flat_map(|family| device(plan, node, *family)).collect()
}

/// The overlay device of a family with its address, up.
#[must_use]
pub fn device(plan: &Plan, node: &Node, family: Family) -> Vec<String> {
    device_at(plan, node, node.ip.of(family), &node.uplink)
}

/// The overlay device of the family of `local`, sending from that address and bound to another
/// device.
#[must_use]
pub fn device_at(plan: &Plan, node: &Node, local: IpAddr, lower: &str) -> Vec<String> {
    let family = Family::from(local);
    let overlay = plan.overlay(family);
    vec![
        format!(
            "link add {overlay} address {} mtu {} type vxlan id {} local {} dev {} dstport {} \
             nolearning",
            node.vtep_mac.of(family),
            plan.overlay_mtu(family),
            plan.vni,
            local,
            lower,
            plan.port
        ),
        address(plan, node, family),
        up(&overlay),
    ]
}

/// Gives the overlay device of a family its address.
#[must_use]
pub fn address(plan: &Plan, node: &Node, family: Family) -> String {
    add_address(IpNet::from(node.end(family).flannel_ip()), &plan.overlay(family))
}

/// The entries for the peers that a node has, in all families.
#[must_use]
pub fn all_peers(plan: &Plan, node: &Node) -> Vec<Script> {
    plan.families().iter().flat_map(|family| peers(plan, node, *family)).collect()
}

/// The entries for the peers that a node has in a family, in the order that the plan draws. flanneld
/// writes neighbour, FDB entry, route, one peer after the other; here all neighbours come first,
/// because one batch of `ip` is many times faster than a process for each peer.
#[must_use]
pub fn peers(plan: &Plan, node: &Node, family: Family) -> Vec<Script> {
    let peers = || node.peer_order.iter().map(|peer| &plan.nodes[*peer]);
    vec![
        Script::ip(&node.namespace, peers().map(|peer| neighbour(plan, peer, family))),
        Script::bridge(&node.namespace, peers().map(|peer| fdb_entry(plan, peer, family))),
        Script::ip(&node.namespace, peers().map(|peer| route(plan, peer, family))),
    ]
}

/// The overlay device anew, each line that makes it changed, with the entries for the peers.
pub fn remade(
    plan: &Plan,
    node: &Node,
    family: Family,
    change: impl Fn(String) -> String,
) -> Vec<Script> {
    let delete = format!("link del {}", plan.overlay(family));
    let lines = device(plan, node, family).into_iter().map(change);
    let mut scripts = vec![Script::ip(&node.namespace, [delete].into_iter().chain(lines))];
    scripts.extend(peers(plan, node, family));
    scripts
}

/// Device and entries of a family, as a restart of flanneld brings them back.
#[must_use]
pub fn restart(plan: &Plan, node: &Node, family: Family) -> Vec<Script> {
    let mut scripts = vec![Script::ip(&node.namespace, device(plan, node, family))];
    scripts.extend(peers(plan, node, family));
    scripts
}

/// The neighbour entry for a peer's overlay address.
#[must_use]
pub fn neighbour(plan: &Plan, peer: &Node, family: Family) -> String {
    neighbour_with(plan, peer, family, peer.vtep_mac.of(family))
}

/// The neighbour entry for a peer's overlay address with any MAC.
#[must_use]
pub fn neighbour_with(plan: &Plan, peer: &Node, family: Family, mac: Mac) -> String {
    let (ip, overlay) = (peer.end(family).flannel_ip(), plan.overlay(family));
    format!("neigh replace {ip} lladdr {mac} dev {overlay} nud permanent")
}

/// The FDB entry for a peer's overlay MAC.
#[must_use]
pub fn fdb_entry(plan: &Plan, peer: &Node, family: Family) -> String {
    let (end, overlay) = (peer.end(family), plan.overlay(family));
    format!("fdb replace {} dev {overlay} dst {} self permanent", end.vtep_mac, end.ip)
}

/// The route to a peer's pod CIDR. The kernel gives it metric 0 in IPv4 and 1024 in IPv6, as it does
/// flannel's.
#[must_use]
pub fn route(plan: &Plan, peer: &Node, family: Family) -> String {
    let end = peer.end(family);
    let (subnet, via) = (end.subnet, end.flannel_ip());
    format!("route replace {subnet} via {via} dev {} onlink", plan.overlay(family))
}

/// Removes what a node holds for one peer, as flanneld does when the peer's Node object goes.
#[must_use]
pub fn forget(plan: &Plan, node: &Node, peer: &Node) -> Vec<Script> {
    let forget = |family: &Family| {
        let (end, overlay) = (peer.end(*family), plan.overlay(*family));
        let route = format!("route del {} dev {overlay}", end.subnet);
        let neighbour = format!("neigh del {} dev {overlay}", end.flannel_ip());
        let fdb = format!("fdb del {} dev {overlay} dst {} self", end.vtep_mac, end.ip);
        [Script::ip(&node.namespace, [route, neighbour]), Script::bridge(&node.namespace, [fdb])]
    };
    plan.families().iter().flat_map(forget).collect()
}

/// Writes what a node holds for one peer.
#[must_use]
pub fn learn(plan: &Plan, node: &Node, peer: &Node) -> Vec<Script> {
    let learn = |family: &Family| {
        [
            Script::ip(&node.namespace, [neighbour(plan, peer, *family)]),
            Script::bridge(&node.namespace, [fdb_entry(plan, peer, *family)]),
            Script::ip(&node.namespace, [route(plan, peer, *family)]),
        ]
    };
    plan.families().iter().flat_map(learn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Stack, seed::Shape};

    #[test]
    fn every_peer_gets_three_entries_of_each_family_in_the_drawn_order() {
        let shape = Shape { nodes: Some(4), stack: Stack::Dual, ..Shape::default() };
        let plan = Plan::draw(3, &shape);
        let node = &plan.nodes[0];
        for script in all_peers(&plan, node) {
            assert_eq!(script.lines.len(), 3, "{script:?}");
        }
        let first = &plan.nodes[node.peer_order[0]];
        for family in plan.families() {
            let routes = &peers(&plan, node, *family)[2];
            assert!(routes.lines[0].contains(&first.subnet.of(*family).to_string()), "{routes:?}");
        }
    }
}
