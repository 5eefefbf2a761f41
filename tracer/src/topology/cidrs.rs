//! Pod CIDRs: this node's and the cluster's.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{TABLE_MAIN, leaves_by};
use crate::evidence::{Address, Family, Intent, RouteKind, Tables};

/// Length of a node's pod CIDR where nothing tells it: Kubernetes' own defaults.
const DEFAULT_LENGTH_V4: u8 = 24;
const DEFAULT_LENGTH_V6: u8 = 64;
/// By how many bits the cluster's network is wider than a node's where nothing names it: a /16
/// of /24s, the default of kubeadm, k3s and Talos.
const INFERRED_NODE_BITS: u8 = 8;

/// The node's pod CIDRs of one IP version: from subnet.env, else by the overlay device's address,
/// else by the bridge's.
pub(super) fn own(
    tables: Option<&Tables>,
    intent: &Intent,
    family: Family,
    overlay: Option<u32>,
    bridge: Option<u32>,
) -> Vec<IpNet> {
    if let Some(env) = &intent.subnet_env
        && !env.subnets.is_empty()
    {
        return of_family(&env.subnets, family).map(IpNet::trunc).collect();
    }
    let Some(tables) = tables else { return Vec::new() };
    let of_device = |index: Option<u32>| {
        let addresses = index.into_iter().flat_map(|index| global_addresses(tables, index));
        addresses.filter(move |address| Family::of(address.address) == family)
    };
    let bridges: Vec<IpNet> = of_device(bridge).filter_map(network_of).collect();
    let by_overlay: Vec<IpNet> = of_device(overlay)
        .filter_map(|it| by_overlay_address(tables, it.ifindex, it.address, &bridges))
        .collect();
    if by_overlay.is_empty() { bridges } else { by_overlay }
}

/// The cluster's pod networks of one IP version: by option or subnet.env, else the network of 256
/// nodes around this one.
pub(super) fn cluster(intent: &Intent, family: Family, own: &[IpNet]) -> Vec<IpNet> {
    let networks = intent.subnet_env.iter().flat_map(|env| of_family(&env.networks, family));
    let mut named: Vec<IpNet> =
        of_family(&intent.cluster_cidrs, family).chain(networks).map(IpNet::trunc).collect();
    let inferred: Vec<IpNet> = own
        .iter()
        .filter(|cidr| !named.iter().any(|network| network.contains(*cidr)))
        .filter_map(|cidr| {
            let length = cidr.prefix_len().saturating_sub(INFERRED_NODE_BITS);
            Some(IpNet::new(cidr.addr(), length).ok()?.trunc())
        })
        .collect();
    named.extend(inferred);
    named.sort();
    named.dedup();
    named
}

/// Prefix length of pod CIDRs in the family of `address`.
pub(super) fn pod_length(own: &[IpNet], address: IpAddr) -> u8 {
    own.iter()
        .find(|cidr| cidr.addr().is_ipv4() == address.is_ipv4())
        .map_or_else(|| default_length(address), IpNet::prefix_len)
}

/// The networks of one IP version.
pub(super) fn of_family(networks: &[IpNet], family: Family) -> impl Iterator<Item = &IpNet> {
    networks.iter().filter(move |network| Family::of_net(**network) == family)
}

/// The address `n` places behind the first of `cidr`, or the last that there is.
#[must_use]
pub fn nth_address(cidr: IpNet, n: u32) -> IpAddr {
    match cidr {
        IpNet::V4(net) => nth_v4(net, n),
        IpNet::V6(net) => nth_v6(net, n),
    }
}

/// Addresses of a device that a packet can be routed to from elsewhere.
pub(super) fn global_addresses(tables: &Tables, index: u32) -> impl Iterator<Item = &Address> {
    tables.addresses_of(index).filter(|address| is_global_unicast(address.address))
}

/// Neither link-local nor multicast nor unspecified: may belong to a peer.
pub(super) fn is_global_unicast(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !link_local && !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

/// Of IPv6 and link-local, as the kernel gives an address to each device.
pub(super) const fn is_ipv6_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn by_overlay_address(
    tables: &Tables,
    overlay: u32,
    address: IpAddr,
    bridges: &[IpNet],
) -> Option<IpNet> {
    if let Some(bridge) = bridges.iter().find(|bridge| bridge.network() == address) {
        return Some(*bridge);
    }
    let length = commonest_length(tables, overlay, address).unwrap_or(default_length(address));
    Some(IpNet::new(address, length).ok()?.trunc())
}

/// The prefix length that most of the overlay device's routes have.
fn commonest_length(tables: &Tables, overlay: u32, address: IpAddr) -> Option<u8> {
    let mut counts = BTreeMap::<u8, u32>::new();
    for route in &tables.routes {
        let same_family = route.destination.addr().is_ipv4() == address.is_ipv4();
        let by_gateway = route.next_hops.iter().any(|hop| hop.gateway.is_some());
        if same_family
            && by_gateway
            && route.kind == RouteKind::Unicast
            && route.table == TABLE_MAIN
            && leaves_by(route, overlay)
        {
            *counts.entry(route.destination.prefix_len()).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(length, _)| length)
}

fn network_of(address: &Address) -> Option<IpNet> {
    let network = IpNet::new(address.address, address.prefix_length).ok()?;
    (network.prefix_len() < network.max_prefix_len()).then(|| network.trunc())
}

const fn default_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { DEFAULT_LENGTH_V4 } else { DEFAULT_LENGTH_V6 }
}

fn nth_v4(net: Ipv4Net, n: u32) -> IpAddr {
    let last = u32::from(net.broadcast());
    IpAddr::V4(u32::from(net.network()).saturating_add(n).min(last).into())
}

fn nth_v6(net: Ipv6Net, n: u32) -> IpAddr {
    let last = u128::from(net.broadcast());
    IpAddr::V6(u128::from(net.network()).saturating_add(n.into()).min(last).into())
}
