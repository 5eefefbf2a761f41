//! Which CIDRs may belong to a peer: everything that names one, before anything is judged.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{TABLE_MAIN, Topology, cidrs, peer::refuses};
use crate::evidence::{Route, RouteKind};

/// The CIDRs that a table, the intent or the traffic names, in order. This node's own are never
/// among them, and none lies within another.
pub(super) fn peer_cidrs(topology: &Topology<'_>) -> Vec<IpNet> {
    let intended: BTreeSet<IpNet> =
        topology.intent.peers.iter().map(|peer| peer.pod_cidr.trunc()).collect();
    let mut found = BTreeSet::new();
    found.extend(by_overlay_routes(topology));
    found.extend(by_neighbours(topology));
    found.extend(by_other_routes(topology));
    found.extend(by_traffic(topology));
    found.retain(|cidr| {
        let intended_otherwise =
            intended.iter().any(|other| overlap(*cidr, *other) && cidr != other);
        !intended_otherwise
    });
    found.extend(&intended);
    found.retain(|cidr| !topology.own_cidrs.iter().any(|own| overlap(*cidr, *own)));
    let all = found.clone();
    found.into_iter().filter(|cidr| !all.iter().any(|it| it != cidr && it.contains(cidr))).collect()
}

/// flannel's own routes: `10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink`.
fn by_overlay_routes(topology: &Topology<'_>) -> Vec<IpNet> {
    let fits = |route: &&Route| {
        let length = pod_length(topology, route.destination.addr());
        let by_its_own = gateways(route).any(|gateway| gateway == route.destination.network());
        let of_pod_length =
            route.destination.prefix_len() == length && gateways(route).next().is_some();
        route.table == TABLE_MAIN && (by_its_own || of_pod_length)
    };
    topology.overlay_routes().filter(fits).map(|route| route.destination.trunc()).collect()
}

/// Neighbour entries of the overlay device; flannel's are network addresses.
fn by_neighbours(topology: &Topology<'_>) -> Vec<IpNet> {
    topology
        .overlay_neighbours()
        .filter_map(|entry| {
            pod_cidr_of(topology, entry.address).filter(|cidr| cidr.network() == entry.address)
        })
        .collect()
}

/// Routes of a pod CIDR's length inside the cluster's network that lead elsewhere or refuse.
/// Connected networks have no gateway, and what lies behind the default gateway is some other
/// network: they are no peers.
fn by_other_routes(topology: &Topology<'_>) -> Vec<IpNet> {
    let Some(tables) = topology.tables else { return Vec::new() };
    let is_default = |route: &&Route| route.destination.prefix_len() == 0;
    let defaults: BTreeSet<IpAddr> =
        tables.routes.iter().filter(is_default).flat_map(gateways).collect();
    let names_peer = |route: &&Route| match route.kind {
        RouteKind::Unicast => gateways(route).any(|gateway| !defaults.contains(&gateway)),
        kind => refuses(kind),
    };
    tables
        .routes
        .iter()
        .filter(names_peer)
        .map(|route| route.destination.trunc())
        .filter(|cidr| cidr.prefix_len() == pod_length(topology, cidr.addr()))
        .filter(|cidr| in_cluster(topology, *cidr))
        .collect()
}

fn by_traffic(topology: &Topology<'_>) -> Vec<IpNet> {
    let Some(traffic) = topology.traffic else { return Vec::new() };
    traffic
        .strangers
        .iter()
        .filter_map(|stranger| pod_cidr_of(topology, stranger.inner_source))
        .filter(|cidr| in_cluster(topology, *cidr))
        .collect()
}

fn pod_cidr_of(topology: &Topology<'_>, address: IpAddr) -> Option<IpNet> {
    Some(IpNet::new(address, pod_length(topology, address)).ok()?.trunc())
}

fn pod_length(topology: &Topology<'_>, address: IpAddr) -> u8 {
    cidrs::pod_length(&topology.own_cidrs, address)
}

fn in_cluster(topology: &Topology<'_>, cidr: IpNet) -> bool {
    topology.cluster_cidrs.iter().any(|network| network.contains(&cidr))
}

fn gateways(route: &Route) -> impl Iterator<Item = IpAddr> {
    route.next_hops.iter().filter_map(|hop| hop.gateway)
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}
