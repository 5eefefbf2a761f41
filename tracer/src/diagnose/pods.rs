//! The devices by which the pods of this node hang on it.

use std::collections::BTreeSet;

use super::case::{Case, is_link_local};
use crate::{
    evidence::{Link, Route, RouteKind, Tables},
    topology::{TABLE_LOCAL, leaves_by},
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

/// Veths that the bridge plugin made for pods (it names them `veth` and 8 hexadecimal digits) and
/// that lead nowhere: without a master, or down in the bridge. A veth with addresses or routes of
/// its own is somebody else's.
pub(super) fn cut_off<'a>(case: &Case<'_>, tables: &'a Tables) -> Vec<&'a Link> {
    let Some(bridge) = case.topology.bridge else { return Vec::new() };
    let is_used = |link: &Link| {
        let has_address = tables.addresses_of(link.index).any(|it| !is_link_local(it.address));
        let is_route = |route: &Route| {
            leaves_by(route, link.index) && !is_link_local(route.destination.addr())
        };
        has_address
            || tables.routes.iter().any(|route| route.table != TABLE_LOCAL && is_route(route))
    };
    veths(case, tables)
        .filter(|link| is_named_by_bridge_plugin(&link.name))
        .filter(|link| match link.master {
            None => !is_used(link),
            Some(master) => master == bridge.index && !link.up,
        })
        .collect()
}

fn is_named_by_bridge_plugin(name: &str) -> bool {
    let is_hexadecimal = |digits: &str| digits.bytes().all(|it| it.is_ascii_hexdigit());
    name.strip_prefix("veth").is_some_and(|rest| rest.len() == 8 && is_hexadecimal(rest))
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
