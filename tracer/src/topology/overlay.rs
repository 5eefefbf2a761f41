//! Whether a VXLAN device without flannel's name is addressed and used as only flannel's is.
//!
//! Devices of other plugins and EVPN bridges share flannel's settings (no learning, permanent
//! entries); what they lack is a single host address that is the network address of a pod CIDR.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{TABLE_MAIN, cidrs, leaves_by, signs};
use crate::evidence::{
    Address, FdbEntry, Link, Neighbour, NeighbourState, Route, RouteKind, Tables,
};

/// The device has a host address, 10.244.1.0/32, and a bridge, a route or a neighbour shows that
/// this is the first address of a pod CIDR.
pub(super) fn is_used_as_flannels(tables: &Tables, link: &Link) -> bool {
    let is_host = |address: &&Address| {
        address.prefix_length == if address.address.is_ipv4() { 32 } else { 128 }
    };
    cidrs::global_addresses(tables, link.index).filter(is_host).any(|address| {
        begins_a_bridged_network(tables, address.address)
            || has_peer_route(tables, link, address.address)
            || has_peer_neighbour(tables, link, address.address)
    })
}

/// Permanent entries of the device that send a unicast MAC to a node.
pub(super) fn peer_entries<'a>(
    tables: &'a Tables,
    link: &Link,
) -> impl Iterator<Item = &'a FdbEntry> + use<'a> {
    let index = link.index;
    tables.fdb.iter().filter(move |entry| {
        entry.ifindex == index
            && entry.permanent
            && entry.destination.is_some()
            && signs::is_unicast_mac(entry.mac)
    })
}

/// Whether anything leads by the device: a route, a neighbour or an FDB entry that may be a peer's.
pub(super) fn leads_anywhere(tables: &Tables, index: u32) -> bool {
    let is_routed = |route: &Route| {
        route.kind == RouteKind::Unicast
            && leaves_by(route, index)
            && cidrs::is_global_unicast(route.destination.addr())
            && route.destination.prefix_len() < route.destination.max_prefix_len()
    };
    let is_peer = |entry: &Neighbour| {
        entry.ifindex == index && entry.mac.is_some() && cidrs::is_global_unicast(entry.address)
    };
    let is_sent = |entry: &FdbEntry| entry.ifindex == index && entry.destination.is_some();
    tables.routes.iter().any(is_routed)
        || tables.neighbours.iter().any(is_peer)
        || tables.fdb.iter().any(is_sent)
}

/// `10.244.1.1/24` on a bridge beside 10.244.1.0 on the device.
fn begins_a_bridged_network(tables: &Tables, own: IpAddr) -> bool {
    let is_bridge = |index| {
        tables.link(index).is_some_and(|link: &Link| link.kind.as_deref() == Some("bridge"))
    };
    tables.addresses.iter().filter(|address| is_bridge(address.ifindex)).any(|address| {
        let network = IpNet::new(address.address, address.prefix_length);
        address.address != own && network.is_ok_and(|network| network.network() == own)
    })
}

/// `10.244.2.0/24 via 10.244.2.0 dev X`, where the device's address begins such a CIDR too.
fn has_peer_route(tables: &Tables, link: &Link, own: IpAddr) -> bool {
    tables.routes.iter().any(|route| {
        let cidr = route.destination;
        let by_its_first = route.next_hops.iter().any(|hop| hop.gateway == Some(cidr.network()));
        route.table == TABLE_MAIN
            && route.kind == RouteKind::Unicast
            && leaves_by(route, link.index)
            && by_its_first
            && cidr.prefix_len() < cidr.max_prefix_len()
            && begins(own, cidr.prefix_len())
    })
}

/// A permanent neighbour that begins a CIDR of the default length, as the device's address does,
/// and whose MAC is sent to a node.
fn has_peer_neighbour(tables: &Tables, link: &Link, own: IpAddr) -> bool {
    let length = cidrs::pod_length(&[], own);
    begins(own, length)
        && tables.neighbours.iter().any(|entry| {
            entry.ifindex == link.index
                && entry.state == NeighbourState::Permanent
                && entry.address.is_ipv4() == own.is_ipv4()
                && begins(entry.address, length)
                && peer_entries(tables, link).any(|fdb| Some(fdb.mac) == entry.mac)
        })
}

/// Whether a network of this length begins with `address`.
fn begins(address: IpAddr, length: u8) -> bool {
    IpNet::new(address, length).is_ok_and(|network| network.network() == address)
}

#[cfg(test)]
mod tests {
    use crate::{
        diagnose::testing::{
            BRIDGE, OVERLAY, Pass, Plan, UPLINK, address, fdb, judge, link, mac, tables, told,
        },
        evidence::{Evidence, FdbEntry, Intent, Tables, Vxlan},
        topology::{RoleProblem, detect_roles},
    };

    const VNI100: u32 = 30;

    /// A device as EVPN daemons set it up: no learning, entries with destinations, no address.
    fn add_vni100(tables: &mut Tables) {
        let mut foreign = link(VNI100, "vni100", Some("vxlan"));
        foreign.up = false;
        foreign.vxlan = Some(Vxlan {
            vni: 100,
            port: 4789,
            local: "10.0.0.1".parse().ok(),
            link: None,
            learning: false,
            external: false,
            gbp: false,
            df: Default::default(),
        });
        tables.links.push(foreign);
        let entry = fdb(mac(70), "10.0.0.2".parse().unwrap());
        tables.fdb.push(FdbEntry { ifindex: VNI100, ..entry });
    }

    fn without_overlay(plan: &Plan) -> Evidence {
        let mut evidence = plan.evidence();
        let tables = tables(&mut evidence);
        tables.links.retain(|link| link.index != OVERLAY);
        tables.addresses.retain(|it| it.ifindex != OVERLAY);
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(OVERLAY)));
        tables.neighbours.retain(|it| it.ifindex != OVERLAY);
        tables.fdb.retain(|it| it.ifindex != OVERLAY);
        add_vni100(tables);
        evidence
    }

    #[test]
    fn a_device_of_another_plugin_is_none_of_flannels() {
        let mut tables = Tables { links: vec![link(UPLINK, "eth0", None)], ..Tables::default() };
        add_vni100(&mut tables);
        let roles = |tables: &Tables| detect_roles(tables, &Intent::default());
        assert_eq!(roles(&tables), Err(RoleProblem::NoFlannel));
        tables.addresses.push(address(VNI100, "10.255.0.1", 32));
        assert_eq!(roles(&tables), Err(RoleProblem::NoFlannel), "a loopback's kind of address");
    }

    #[test]
    fn a_device_of_another_plugin_does_not_hide_that_flannels_is_missing() {
        for pass in [Pass::Tables, Pass::SubnetEnv, Pass::PeersFile] {
            let mut evidence = without_overlay(&Plan::of(3, pass));
            assert_eq!(told(&judge(&mut evidence)), ["flannel-link-missing flannel.1"]);
        }
    }

    #[test]
    fn a_renamed_device_is_known_by_bridge_route_or_neighbour() {
        let plan = Plan { overlay: "vx9".into(), ..Plan::of(2, Pass::Tables) };
        let keep = |bridge: bool, route: bool, neighbour: bool| {
            let mut evidence = plan.evidence();
            let tables = tables(&mut evidence);
            tables.addresses.retain(|it| bridge || it.ifindex != BRIDGE);
            tables.routes.retain(|it| route || it.destination != plan.hit_cidr());
            tables.neighbours.retain(|it| neighbour || it.ifindex != OVERLAY);
            detect_roles(evidence.tables.as_ref().unwrap(), &evidence.intent).unwrap().overlay
        };
        assert_eq!(keep(true, false, false), Some(OVERLAY));
        assert_eq!(keep(false, true, false), Some(OVERLAY));
        assert_eq!(keep(false, false, true), Some(OVERLAY));
        assert_eq!(keep(false, false, false), None);
    }
}
