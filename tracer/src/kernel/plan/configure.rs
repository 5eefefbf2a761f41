//! What the programs are told of the node, for each IP version.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use tracer_common::{
    address::Address as Word,
    config::{Config, Family as FamilyConfig, NODE_ADDRESSES, Network},
};

use crate::{
    evidence::{Address, Family, MacAddress, Tables, Vxlan},
    topology::{Topologies, Topology},
};

/// flannel's VNI and UDP port on Linux when nothing tells others: they still tell VXLAN of peers
/// from other traffic while the device is away.
const DEFAULT_TUNNEL: (u32, u16) = (1, 8472);

/// An address of one IP version, as the programs have it.
trait Version: Word {
    /// The address when it is of this version.
    fn pick(address: IpAddr) -> Option<Self::Ip>;
}

impl Version for u32 {
    fn pick(address: IpAddr) -> Option<Ipv4Addr> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Version for [u32; 4] {
    fn pick(address: IpAddr) -> Option<Ipv6Addr> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }
}

/// The configuration of the programs. What does not fit is told in `unseen`.
pub(super) fn configure(
    topologies: &Topologies<'_>,
    tables: &Tables,
    unseen: &mut Vec<String>,
) -> Config {
    let mut config = Config::NONE;
    let known = topologies.overlays().find_map(|link| link.vxlan.as_ref());
    for topology in topologies.iter() {
        match topology.family {
            Family::V4 => fill(&mut config.v4, topology, known, tables, unseen),
            Family::V6 => fill(&mut config.v6, topology, known, tables, unseen),
        }
    }
    config
}

/// `known` is a tunnel of either IP version: both have the same VNI and port.
fn fill<A: Version>(
    config: &mut FamilyConfig<A>,
    topology: &Topology<'_>,
    known: Option<&Vxlan>,
    tables: &Tables,
    unseen: &mut Vec<String>,
) {
    let vxlan = topology.overlay.and_then(|link| link.vxlan.as_ref()).or(known);
    let mtu = topology.overlay.map_or(0, |link| u16::try_from(link.mtu).unwrap_or(0));
    let (vni, port) = vxlan.map_or(DEFAULT_TUNNEL, |vxlan| (vxlan.vni, vxlan.port));
    config.set_tunnel(vni, port, mtu);
    if let Some(MacAddress(mac)) = topology.overlay.and_then(|link| link.mac) {
        config.set_device(mac, vxlan.is_some_and(|vxlan| vxlan.gbp));
    }
    let mut all_fit = true;
    for network in networks(&topology.cluster_cidrs) {
        all_fit &= config.add_pod_network(network);
    }
    for network in networks(&topology.own_cidrs) {
        all_fit &= config.add_own_pods(network);
    }
    if !all_fit {
        unseen.push("pods in more than 8 networks: the first 8 are watched".to_owned());
    }
    add_addresses(config, topology, tables, unseen);
}

fn networks<A: Version>(networks: &[IpNet]) -> impl Iterator<Item = Network<A>> {
    networks.iter().filter_map(|it| Network::new(A::pick(it.addr())?, it.prefix_len()))
}

/// The node's own addresses: those inside its pod network are no pods, the others are where peers
/// may send VXLAN.
fn add_addresses<A: Version>(
    config: &mut FamilyConfig<A>,
    topology: &Topology<'_>,
    tables: &Tables,
    unseen: &mut Vec<String>,
) {
    let (not_pods, tunnel_ends): (Vec<IpAddr>, Vec<IpAddr>) =
        own_addresses(topology, tables).into_iter().partition(|address| topology.is_own(*address));
    let of_version = |addresses: Vec<IpAddr>| addresses.into_iter().filter_map(A::pick);
    let taken_for_pods =
        of_version(not_pods).filter(|address| !config.add_node_address(*address)).count();
    if taken_for_pods > 0 {
        unseen.push(format!(
            "{taken_for_pods} of the node's own addresses in its pod network are taken for pods: \
             only {NODE_ADDRESSES} fit"
        ));
    }
    let not_watched =
        of_version(tunnel_ends).filter(|address| !config.add_tunnel_end(*address)).count();
    if not_watched > 0 {
        unseen.push(format!(
            "VXLAN to {not_watched} of the node's addresses: only {NODE_ADDRESSES} fit, its tunnel's \
             and its uplinks' first"
        ));
    }
}

/// The node's addresses, each once, the most likely tunnel ends first: a node may have hundreds,
/// such as that of every service on kube-ipvs0. flannel's tunnel never ends at a link-local one.
fn own_addresses(topology: &Topology<'_>, tables: &Tables) -> Vec<IpAddr> {
    let local = topology.overlay.and_then(|link| link.vxlan.as_ref()?.local);
    let devices = [topology.overlay, topology.bridge].into_iter().flatten();
    let ours: Vec<u32> =
        devices.chain(topology.uplinks.iter().copied()).map(|link| link.index).collect();
    let (first, rest): (Vec<&Address>, Vec<&Address>) =
        tables.addresses.iter().partition(|address| ours.contains(&address.ifindex));
    // Sorted, so that the same addresses make the same configuration.
    let sorted = |addresses: Vec<&Address>| {
        let mut addresses: Vec<IpAddr> = addresses.iter().map(|it| it.address).collect();
        addresses.sort_unstable();
        addresses
    };
    let of_devices = sorted(first).into_iter().chain(sorted(rest));
    let is_usable = |address: &IpAddr| {
        let link_local = matches!(address, IpAddr::V6(it) if it.is_unicast_link_local());
        Family::of(*address) == topology.family && !address.is_loopback() && !link_local
    };
    let mut addresses = Vec::new();
    for address in local.into_iter().chain(of_devices).filter(is_usable) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use crate::{
        diagnose::testing::{Pass, Plan as Cluster, UPLINK, address, tables},
        kernel::plan::plan,
        topology::Topologies,
    };

    #[test]
    fn the_tunnels_and_the_uplinks_addresses_come_before_those_of_services() {
        let cluster = Cluster::of(3, Pass::Tables);
        let mut evidence = cluster.evidence();
        let services = (1..=20).map(|n| address(3, &format!("10.96.0.{n}"), 32));
        let second = address(UPLINK, "192.168.77.99", 24);
        tables(&mut evidence).addresses.splice(0..0, services.chain([second]));
        let plan = plan(&Topologies::of(&evidence), evidence.tables.as_ref().unwrap());
        let is_end = |address: [u8; 4]| plan.config.v4.is_tunnel_end(u32::from_ne_bytes(address));
        assert!(is_end([192, 168, 77, 11]) && is_end([192, 168, 77, 99]));
        assert!(is_end([10, 96, 0, 6]), "there is room for six more");
        assert!(!is_end([10, 96, 0, 7]));
        assert_eq!(
            plan.unseen,
            [
                "VXLAN to 14 of the node's addresses: only 8 fit, its tunnel's and its uplinks' first"
            ]
        );
    }

    #[test]
    fn own_addresses_that_do_not_fit_are_told() {
        let mut evidence = Cluster::of(3, Pass::Tables).evidence();
        let more = (100..110).map(|n| address(UPLINK, &format!("10.244.1.{n}"), 32));
        tables(&mut evidence).addresses.extend(more);
        let plan = plan(&Topologies::of(&evidence), evidence.tables.as_ref().unwrap());
        assert!(plan.unseen[0].starts_with("4 of the node's own addresses"), "{:?}", plan.unseen);
    }
}
