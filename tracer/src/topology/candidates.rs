//! Which CIDRs may belong to a peer: everything that names one, before anything is judged.

use std::{collections::BTreeSet, iter, net::IpAddr, ops::Bound};

use ipnet::IpNet;

use super::{TABLE_MAIN, Topology, cidrs, peer::refuses};
use crate::evidence::{Family, Route, RouteKind};

/// The CIDRs that a table, the intent or the traffic names, in order. This node's own are never
/// among them, and none lies within another.
pub(super) fn peer_cidrs(topology: &Topology<'_>) -> Vec<IpNet> {
    let intended: BTreeSet<IpNet> = topology.intended().map(|peer| peer.pod_cidr.trunc()).collect();
    let routed: BTreeSet<IpNet> =
        by_overlay_routes(topology).into_iter().chain(by_other_routes(topology)).collect();
    // An address does not tell the length of its CIDR; a route does.
    let guessed = by_neighbours(topology).into_iter().chain(by_traffic(topology));
    let mut found: BTreeSet<IpNet> =
        guessed.filter(|cidr| !routed.contains(cidr) && !meets_another(&routed, *cidr)).collect();
    found.extend(routed);
    found.retain(|cidr| !meets_another(&intended, *cidr));
    found.extend(&intended);
    found.retain(|cidr| !topology.own_cidrs.iter().any(|own| overlap(*cidr, *own)));
    let all = found.clone();
    found.into_iter().filter(|cidr| !has_wider(&all, *cidr)).collect()
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
        .filter(|route| Family::of_net(route.destination) == topology.family)
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
        .filter(|stranger| Family::of(stranger.inner_source) == topology.family)
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

/// Whether one of `networks`, all of them without host bits, is wider than `cidr` and contains it.
fn has_wider(networks: &BTreeSet<IpNet>, cidr: IpNet) -> bool {
    iter::successors(cidr.supernet(), IpNet::supernet).any(|wider| networks.contains(&wider))
}

/// Whether one of `networks` contains `cidr`, or lies in it, and is another.
fn meets_another(networks: &BTreeSet<IpNet>, cidr: IpNet) -> bool {
    // Networks are in the order of their addresses, a wider one before those it begins with.
    let last = IpNet::from(cidr.broadcast());
    let mut inside = networks.range((Bound::Excluded(cidr), Bound::Included(last)));
    cidr != last && inside.next().is_some() || has_wider(networks, cidr)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::{has_wider, meets_another, overlap};
    use crate::{
        diagnose::testing::{OVERLAY, Pass, Plan, fdb, judge, mac, neighbour, tables, told, via},
        evidence::Stranger,
    };

    #[test]
    fn pod_cidrs_of_another_length_are_those_of_their_routes() {
        let plan = Plan::of(2, Pass::Tables);
        let mut evidence = plan.evidence();
        let others: [IpNet; 3] =
            ["10.244.4.0/25", "10.244.4.128/25", "10.244.6.0/23"].map(|cidr| cidr.parse().unwrap());
        for (number, cidr) in (50..).zip(others) {
            let tables = tables(&mut evidence);
            tables.routes.push(via(cidr, Some(cidr.network()), OVERLAY));
            tables.neighbours.push(neighbour(OVERLAY, cidr.network(), mac(number)));
            tables.fdb.push(fdb(mac(number), plan.node_ip(number)));
        }
        evidence.traffic.as_mut().unwrap().strangers.push(Stranger {
            inner_source: "10.244.7.9".parse().unwrap(),
            outer_source: plan.node_ip(52),
            packets: 5,
        });
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0]);
        let cidrs: Vec<IpNet> = diagnosis.peers.iter().map(|peer| peer.cidr).collect();
        assert_eq!(cidrs, [[plan.hit_cidr()].as_slice(), &others].concat());
    }

    /// Networks in so little room that they meet each other.
    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (0..8_u8, 24..=32_u8).prop_map(|(last, length)| {
            IpNet::new([10, 0, 0, last * 32].into(), length).unwrap().trunc()
        });
        let v6 = (0..4_u16, 110..=128_u8).prop_map(|(last, length)| {
            let address = [0xfd00, 0, 0, 0, 0, 0, 0, last * 64].into();
            IpNet::new(address, length).unwrap().trunc()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn networks_meet_as_if_each_were_compared_with_each(
            networks in prop::collection::btree_set(network(), 0..12),
            cidr in network(),
        ) {
            let others = || networks.iter().filter(|other| **other != cidr);
            prop_assert_eq!(
                meets_another(&networks, cidr),
                others().any(|other| overlap(*other, cidr))
            );
            prop_assert_eq!(
                has_wider(&networks, cidr),
                others().any(|other| other.contains(&cidr))
            );
        }
    }

    #[test]
    fn a_network_does_not_meet_itself() {
        for text in ["10.0.0.0/24", "10.0.0.9/32", "0.0.0.0/0", "fd00::/64", "::/0"] {
            let cidr: IpNet = text.parse().unwrap();
            assert!(!meets_another(&BTreeSet::from([cidr]), cidr), "{text}");
        }
    }
}
