//! Where VIPs are, what announces itself as one, and whose MAC a MAC is.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Topologies, Topology, cidrs};
use crate::evidence::{Link, MacAddress, Tables};

/// Whose MAC it is, as far as this node's tables tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacOwner<'a> {
    /// This node's.
    Own,
    /// That of a peer's node.
    Peer {
        /// Its address.
        node: IpAddr,
        /// Its name.
        name: Option<&'a str>,
    },
}

/// The devices on which VIPs may be: those that are named, those whose subnet holds a VIP, and the
/// uplinks, on which others announce themselves. Only devices with an Ethernet header have ARP.
#[must_use]
pub fn vip_devices<'a>(
    topologies: &Topologies<'a>,
    tables: &'a Tables,
    vips: &[IpAddr],
    named: &[String],
) -> Vec<&'a Link> {
    let is_uplink = |link: &Link| topologies.uplinks().iter().any(|it| it.index == link.index);
    let is_flannels = |link: &Link| {
        let bridge = topologies.bridge().into_iter();
        topologies.overlays().chain(bridge).any(|it| it.index == link.index)
    };
    let holds_one = |link: &Link| vips.iter().any(|vip| subnet_of(tables, link, *vip).is_some());
    let is_meant = |link: &&Link| {
        named.contains(&link.name) || !is_flannels(link) && (is_uplink(link) || holds_one(link))
    };
    tables.links.iter().filter(|link| link.mac.is_some()).filter(is_meant).collect()
}

/// The device whose subnet holds an address; of several the one of the longest prefix.
#[must_use]
pub fn vip_device<'a>(devices: &[&'a Link], tables: &Tables, vip: IpAddr) -> Option<&'a Link> {
    let with_length = devices.iter().filter_map(|it| Some((subnet_of(tables, it, vip)?, *it)));
    with_length.max_by_key(|(length, _)| *length).map(|(_, link)| link)
}

/// Whether an address that `mac` announces is taken for a VIP: one that a node of the cluster says is
/// its own although it is the address of none, and of no pod.
#[must_use]
pub fn announces_vip(
    topologies: &Topologies<'_>,
    tables: &Tables,
    address: IpAddr,
    mac: MacAddress,
) -> bool {
    let is_nodes =
        tables.is_local(address) || topologies.peers().any(|peer| peer.node_ip == Some(address));
    let networks = topologies.iter().flat_map(|it| it.cluster_cidrs.iter().chain(&it.own_cidrs));
    let is_pods = networks.into_iter().any(|network| network.contains(&address));
    cidrs::is_global_unicast(address)
        && !is_nodes
        && !is_pods
        && mac_owner(topologies, tables, mac).is_some()
}

/// Whose MAC it is. Peers are known by the neighbour entries for their nodes' addresses.
#[must_use]
pub fn mac_owner<'a>(
    topologies: &Topologies<'a>,
    tables: &Tables,
    mac: MacAddress,
) -> Option<MacOwner<'a>> {
    topologies.iter().find_map(|topology| mac_owner_in(topology, tables, mac))
}

/// The same by the peers of one IP version alone.
#[must_use]
pub fn mac_owner_in<'a>(
    topology: &Topology<'a>,
    tables: &Tables,
    mac: MacAddress,
) -> Option<MacOwner<'a>> {
    if tables.links.iter().any(|link| link.mac == Some(mac)) {
        return Some(MacOwner::Own);
    }
    let mut of_mac = tables.neighbours.iter().filter(|entry| entry.mac == Some(mac));
    of_mac.find_map(|entry| {
        let node = entry.address;
        let peer = topology.peers.iter().find(|peer| peer.node_ip == Some(node))?;
        Some(MacOwner::Peer { node, name: peer.name })
    })
}

/// Length of the prefix by which a device's subnet holds an address.
fn subnet_of(tables: &Tables, link: &Link, address: IpAddr) -> Option<u8> {
    let holds = |length: u8, of: IpAddr| {
        IpNet::new(of, length).is_ok_and(|network| network.contains(&address))
    };
    let mut addresses = tables.addresses_of(link.index);
    addresses.find(|it| holds(it.prefix_length, it.address)).map(|it| it.prefix_length)
}
