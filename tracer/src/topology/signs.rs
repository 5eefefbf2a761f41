//! What shows that this is a flannel node, and which backend it uses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::TABLE_MAIN;
use crate::evidence::{Intent, Link, MacAddress, RouteKind, Tables};

/// Name of flannel's WireGuard devices, `flannel-wg` and `flannel-wg-v6`.
const WIREGUARD_PREFIX: &str = "flannel-wg";
/// Name of the device of flannel's ipip backend.
const IPIP_NAME: &str = "flannel.ipip";

/// Every sign that flannel runs or ran on this node, in words; empty when there is none.
#[must_use]
pub fn signs_of_flannel(tables: &Tables, intent: &Intent) -> Vec<String> {
    let mut signs = Vec::new();
    if let Some(env) = &intent.subnet_env {
        signs.push(format!("{} exists", env.path.display()));
    }
    if !intent.flannel_netfilter.is_empty() {
        signs.push(format!("netfilter has {}", intent.flannel_netfilter.join(", ")));
    }
    if let Some(name) = &intent.overlay_option {
        signs.push(format!("--overlay {name} was given"));
    }
    if !intent.peers.is_empty() {
        signs.push(format!("{} peers are named by {}", intent.peers.len(), intent.peers[0].source));
    }
    signs.extend(device_in_use(tables));
    signs
}

/// The backend that flannel uses here instead of VXLAN, when there is proof of one.
#[must_use]
pub fn other_backend(tables: &Tables, intent: &Intent) -> Option<&'static str> {
    let named = |prefix: &str| tables.links.iter().any(|link| link.name.starts_with(prefix));
    if named(WIREGUARD_PREFIX) {
        return Some("wireguard");
    }
    if named(IPIP_NAME) || routes_by_ipip(tables, intent) {
        return Some("ipip");
    }
    is_host_gateway(tables, intent).then_some("host-gw")
}

/// Whether a frame for this MAC is for one receiver, and not for everybody unknown.
pub(super) fn is_unicast_mac(mac: MacAddress) -> bool {
    mac != MacAddress::ZERO && mac.0[0] & 1 == 0
}

/// A route or neighbour entry of a device that has flannel's name.
fn device_in_use(tables: &Tables) -> Option<String> {
    let link =
        tables.links.iter().filter(|link| link.name.starts_with("flannel")).find(|link| {
            let routed = tables.routes.iter().any(|route| super::leaves_by(route, link.index));
            routed || tables.neighbours.iter().any(|entry| entry.ifindex == link.index)
        })?;
    Some(format!("{} is in use", link.name))
}

fn routes_by_ipip(tables: &Tables, intent: &Intent) -> bool {
    let networks = pod_networks(tables, intent);
    let ipip: Vec<u32> = tables
        .links
        .iter()
        .filter(|link| link.kind.as_deref() == Some("ipip"))
        .map(|link| link.index)
        .collect();
    tables.routes.iter().any(|route| {
        networks.iter().any(|network| network.contains(&route.destination))
            && ipip.iter().any(|index| super::leaves_by(route, *index))
    })
}

/// flannel's VXLAN leaves 50 bytes for the outer headers and host-gw none, so the MTU decides
/// where it is known; with DirectRouting the routes of VXLAN look like those of host-gw.
fn is_host_gateway(tables: &Tables, intent: &Intent) -> bool {
    let defaults = default_devices(tables);
    match intent.subnet_env.as_ref().and_then(|env| env.mtu) {
        Some(mtu) if !defaults.is_empty() => defaults.iter().any(|link| link.mtu == mtu),
        _ => routes_by_node_addresses(tables, intent),
    }
}

/// The devices of the default routes of table main.
pub(super) fn default_devices(tables: &Tables) -> Vec<&Link> {
    tables
        .routes
        .iter()
        .filter(|route| route.table == TABLE_MAIN && route.kind == RouteKind::Unicast)
        .filter(|route| route.destination.prefix_len() == 0)
        .flat_map(|route| &route.next_hops)
        .filter_map(|hop| tables.link(hop.ifindex?))
        .collect()
}

fn routes_by_node_addresses(tables: &Tables, intent: &Intent) -> bool {
    let networks = pod_networks(tables, intent);
    let inside = |cidr: IpNet| networks.iter().any(|network| network.contains(&cidr));
    let is_pod_address =
        |address: &IpAddr| networks.iter().any(|network| network.contains(address));
    tables.routes.iter().any(|route| {
        let own = tables.addresses.iter().any(|own| route.destination.contains(&own.address));
        route.table == TABLE_MAIN
            && route.kind == RouteKind::Unicast
            && !own
            && inside(route.destination)
            && route
                .next_hops
                .iter()
                .any(|hop| hop.gateway.as_ref().is_some_and(|gateway| !is_pod_address(gateway)))
    })
}

/// The cluster's pod networks as far as they can be told without an overlay device.
fn pod_networks(tables: &Tables, intent: &Intent) -> Vec<IpNet> {
    let bridge = tables.link_named("cni0").map(|link| link.index);
    let own = super::cidrs::own(Some(tables), intent, None, bridge);
    super::cidrs::cluster(intent, &own)
}
