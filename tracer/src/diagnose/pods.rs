//! The devices by which the pods of this node hang on it.

use std::collections::BTreeSet;

use super::case::Case;
use crate::{
    evidence::{Link, RouteKind, Tables},
    topology::leaves_by,
};

/// Names that CNI plugins which route to each pod, without a bridge, give the pods' veths.
const BRIDGELESS_VETHS: [&str; 2] = ["cali", "lxc"];

/// Veths whose other end is in another namespace, without the uplinks of a node that is a
/// container itself. Those of containers that are no pods are among them.
pub(super) fn veths<'a>(case: &Case<'_>, tables: &'a Tables) -> impl Iterator<Item = &'a Link> {
    let uplinks: BTreeSet<u32> = case.topology.uplinks.iter().map(|link| link.index).collect();
    tables.links.iter().filter(move |link| {
        link.kind.as_deref() == Some("veth")
            && link.lower_elsewhere
            && !uplinks.contains(&link.index)
    })
}

/// Whether pods are routed to one by one, without a bridge (Canal, Cilium).
pub(super) fn are_without_bridge(case: &Case<'_>, tables: &Tables) -> bool {
    veths(case, tables).any(|link| is_of_bridgeless_plugin(tables, link))
}

/// Ports of the pods' bridge that lead into pods.
pub(super) fn ports<'a>(case: &Case<'_>, tables: &'a Tables) -> Vec<&'a Link> {
    let Some(bridge) = case.topology.bridge else { return Vec::new() };
    veths(case, tables).filter(|link| link.master == Some(bridge.index)).collect()
}

/// A plugin without a bridge routes each pod's address to its veth.
fn is_of_bridgeless_plugin(tables: &Tables, link: &Link) -> bool {
    let is_named = BRIDGELESS_VETHS.iter().any(|prefix| link.name.starts_with(prefix));
    let has_pod_route = || {
        tables.routes.iter().any(|route| {
            route.kind == RouteKind::Unicast
                && route.destination.prefix_len() == route.destination.max_prefix_len()
                && leaves_by(route, link.index)
        })
    };
    link.master.is_none() && (is_named || has_pod_route())
}
