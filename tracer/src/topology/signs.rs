//! What shows that this is a flannel node, and which backend it uses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::TABLE_MAIN;
use crate::evidence::{Family, Intent, Link, MacAddress, RouteKind, Tables};

/// Name of flannel's WireGuard devices, `flannel-wg` and `flannel-wg-v6`.
const WIREGUARD_PREFIX: &str = "flannel-wg";
/// Name of the device of flannel's ipip backend.
const IPIP_NAME: &str = "flannel.ipip";
/// Name of the TUN device of flannel's udp backend, before its number.
const UDP_PREFIX: &str = "flannel";

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
    if tables.links.iter().any(is_udp_tunnel) {
        return Some("udp");
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

/// `flannel0`, a TUN device through which flannel itself carries each packet.
fn is_udp_tunnel(link: &Link) -> bool {
    let number = link.name.strip_prefix(UDP_PREFIX);
    link.kind.as_deref() == Some("tun")
        && number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
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
/// where it is known; with DirectRouting the routes of VXLAN look like those of host-gw. flannel's
/// interface is that of the routes to the nodes, which need not be that of the default route.
fn is_host_gateway(tables: &Tables, intent: &Intent) -> bool {
    let by_nodes: Vec<&Link> = routes_by_node_addresses(tables, intent).collect();
    let defaults = default_devices(tables);
    match intent.subnet_env.as_ref().and_then(|env| env.mtu) {
        Some(mtu) if !(by_nodes.is_empty() && defaults.is_empty()) => {
            by_nodes.iter().chain(&defaults).any(|link| link.mtu == mtu)
        }
        _ => !by_nodes.is_empty(),
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

/// The devices of routes that lead to other nodes' pod CIDRs by a node address.
fn routes_by_node_addresses<'a>(
    tables: &'a Tables,
    intent: &Intent,
) -> impl Iterator<Item = &'a Link> {
    let networks = pod_networks(tables, intent);
    tables
        .routes
        .iter()
        .filter(|route| route.table == TABLE_MAIN && route.kind == RouteKind::Unicast)
        .filter(|route| {
            !tables.addresses.iter().any(|own| route.destination.contains(&own.address))
        })
        .flat_map(|route| route.next_hops.iter().map(|hop| (route.destination, hop)))
        .filter(move |(cidr, hop)| {
            let inside = networks.iter().any(|network| network.contains(cidr));
            let by_a_pod =
                |gateway: &IpAddr| networks.iter().any(|network| network.contains(gateway));
            inside && hop.gateway.as_ref().is_some_and(|gateway| !by_a_pod(gateway))
        })
        .filter_map(|(_, hop)| tables.link(hop.ifindex?))
}

/// The cluster's pod networks as far as they can be told without an overlay device.
fn pod_networks(tables: &Tables, intent: &Intent) -> Vec<IpNet> {
    let bridge = tables.link_named("cni0").map(|link| link.index);
    let of_family = |family| {
        let own = super::cidrs::own(Some(tables), intent, family, None, bridge);
        super::cidrs::cluster(intent, family, &own)
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

#[cfg(test)]
mod tests {
    use super::other_backend;
    use crate::{
        diagnose::testing::{UPLINK, link, via},
        evidence::{Intent, SubnetEnv, Tables},
    };

    const STORAGE: u32 = 3;

    fn env(mtu: u32) -> Intent {
        Intent {
            subnet_env: Some(SubnetEnv {
                path: "/run/flannel/subnet.env".into(),
                networks: vec!["10.244.0.0/16".parse().unwrap()],
                subnets: vec!["10.244.1.1/24".parse().unwrap()],
                mtu: Some(mtu),
                ip_masq: None,
            }),
            ..Intent::default()
        }
    }

    /// The default route by the first device, the peers behind a second one with jumbo frames.
    fn two_devices() -> Tables {
        let mut jumbo = link(STORAGE, "eth1", None);
        jumbo.mtu = 9000;
        Tables {
            links: vec![link(UPLINK, "eth0", None), jumbo],
            routes: vec![
                via("0.0.0.0/0".parse().unwrap(), "192.168.1.1".parse().ok(), UPLINK),
                via("10.244.2.0/24".parse().unwrap(), "10.0.0.12".parse().ok(), STORAGE),
            ],
            ..Tables::default()
        }
    }

    #[test]
    fn host_gateway_by_a_second_device_is_told_by_its_mtu() {
        let mut tables = two_devices();
        assert_eq!(other_backend(&tables, &env(9000)), Some("host-gw"));
        assert_eq!(other_backend(&tables, &env(8950)), None, "DirectRouting of VXLAN");
        tables.routes.remove(0);
        assert_eq!(other_backend(&tables, &env(8950)), None, "without a default route too");
    }

    #[test]
    fn the_udp_backend_is_told_by_its_tun_device() {
        for (name, kind, backend) in [
            ("flannel0", "tun", Some("udp")),
            ("flannel", "tun", None),
            ("flannel0", "dummy", None),
        ] {
            let mut tables = two_devices();
            tables.links.push(link(30, name, Some(kind)));
            assert_eq!(other_backend(&tables, &env(8950)), backend, "{name} {kind}");
        }
    }
}
