//! What to attach where, and what to tell the programs: pure, from the topology.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use tracer_common::{
    config::{Config, NODE_ADDRESSES, Network},
    names,
    peer::{FIRST_PEER, SLOTS},
};

use crate::{
    evidence::{Address, HookDirection, Link, Tables},
    topology::Topology,
};

/// Everything that a session needs to know of the node.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The programs' read-only configuration.
    pub config: Config,
    /// Pod CIDRs of peers in the order of their slots, the first at [`FIRST_PEER`].
    pub peers: Vec<IpNet>,
    /// Pod CIDRs of this node.
    pub own: Vec<IpNet>,
    /// Where programs go.
    pub hooks: Vec<PlannedHook>,
    /// What does not fit, in whole sentences.
    pub unseen: Vec<String>,
}

/// One place for one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHook {
    /// Device name.
    pub interface: String,
    /// Device number.
    pub ifindex: u32,
    /// Side of the device.
    pub direction: HookDirection,
    /// Program in the object.
    pub program: &'static str,
}

impl PlannedHook {
    /// Whether both are the same program on the same side of the same device, whatever its name.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        (self.ifindex, self.direction, self.program)
            == (other.ifindex, other.direction, other.program)
    }
}

/// Plans the hooks of a node. Devices that do not exist get none.
#[must_use]
pub fn plan(topology: &Topology<'_>, tables: &Tables) -> Plan {
    let mut unseen = Vec::new();
    let config = configure(topology, tables, &mut unseen);
    let mut peers: Vec<IpNet> =
        topology.peers.iter().map(|peer| peer.cidr).filter(|cidr| cidr.addr().is_ipv4()).collect();
    let room = (SLOTS - FIRST_PEER) as usize;
    if peers.len() > room {
        unseen.push(format!("packets of {} peers one by one: only {room} fit", peers.len()));
        peers.truncate(room);
    }
    let mut hooks = Vec::new();
    if let Some(bridge) = topology.bridge {
        hooks.extend(both(bridge, names::POD_OUT, names::POD_IN, HookDirection::Ingress));
    }
    if let Some(overlay) = topology.overlay {
        hooks.extend(both(overlay, names::OVERLAY_OUT, names::OVERLAY_IN, HookDirection::Egress));
    }
    for uplink in &topology.uplinks {
        let (out, into) = match (uplink.mac, uplink.layer3) {
            (Some(_), _) => (names::WIRE_OUT, names::WIRE_IN),
            (None, true) => (names::WIRE_OUT_L3, names::WIRE_IN_L3),
            (None, false) => {
                unseen.push(format!(
                    "packets on {}: neither Ethernet nor IP without a link-layer header",
                    uplink.name
                ));
                continue;
            }
        };
        hooks.extend(both(uplink, out, into, HookDirection::Egress));
    }
    let own = topology.own_cidrs.clone();
    Plan { config, peers, own, hooks, unseen }
}

/// Both hooks of a device; `out_at` is its side on which packets on their way out are seen.
fn both(
    link: &Link,
    out: &'static str,
    into: &'static str,
    out_at: HookDirection,
) -> [PlannedHook; 2] {
    let into_at = match out_at {
        HookDirection::Ingress => HookDirection::Egress,
        HookDirection::Egress => HookDirection::Ingress,
    };
    [(out, out_at), (into, into_at)].map(|(program, direction)| PlannedHook {
        interface: link.name.clone(),
        ifindex: link.index,
        direction,
        program,
    })
}

fn configure(topology: &Topology<'_>, tables: &Tables, unseen: &mut Vec<String>) -> Config {
    let vxlan = topology.overlay.and_then(|link| link.vxlan.as_ref());
    let mtu = topology.overlay.map_or(0, |link| u16::try_from(link.mtu).unwrap_or(0));
    // Without a device flannel's Linux defaults still tell VXLAN of peers from other traffic.
    let (vni, port) = vxlan.map_or((1, 8472), |vxlan| (vxlan.vni, vxlan.port));
    let mut config = Config::NONE;
    config.v4.set_tunnel(vni, port, mtu);
    let mut all_fit = true;
    for network in ipv4(&topology.cluster_cidrs) {
        all_fit &= config.v4.add_pod_network(network);
    }
    for network in ipv4(&topology.own_cidrs) {
        all_fit &= config.v4.add_own_pods(network);
    }
    if !all_fit {
        unseen.push("pods in more than 8 networks: the first 8 are watched".to_owned());
    }
    add_addresses(&mut config, topology, tables, unseen);
    config
}

/// The node's own addresses: those inside its pod network are no pods, the others are where peers
/// may send VXLAN.
fn add_addresses(
    config: &mut Config,
    topology: &Topology<'_>,
    tables: &Tables,
    unseen: &mut Vec<String>,
) {
    let (not_pods, tunnel_ends): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) = own_addresses(topology, tables)
        .into_iter()
        .partition(|address| topology.is_own(IpAddr::V4(*address)));
    let taken_for_pods =
        not_pods.iter().filter(|address| !config.v4.add_node_address(**address)).count();
    if taken_for_pods > 0 {
        unseen.push(format!(
            "{taken_for_pods} of the node's own addresses in its pod network are taken for pods: \
             only {NODE_ADDRESSES} fit"
        ));
    }
    let not_watched =
        tunnel_ends.iter().filter(|address| !config.v4.add_tunnel_end(**address)).count();
    if not_watched > 0 {
        unseen.push(format!(
            "VXLAN to {not_watched} of the node's addresses: only {NODE_ADDRESSES} fit, its tunnel's \
             and its uplinks' first"
        ));
    }
}

/// The node's addresses, each once, the most likely tunnel ends first: a node may have hundreds,
/// such as that of every service on kube-ipvs0.
fn own_addresses(topology: &Topology<'_>, tables: &Tables) -> Vec<Ipv4Addr> {
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
    let mut addresses = Vec::new();
    for address in local.into_iter().chain(of_devices) {
        match address {
            IpAddr::V4(address) if !address.is_loopback() && !addresses.contains(&address) => {
                addresses.push(address);
            }
            _ => {}
        }
    }
    addresses
}

fn ipv4(networks: &[IpNet]) -> impl Iterator<Item = Network<u32>> {
    networks.iter().filter_map(|network| match network {
        IpNet::V4(v4) => network4(*v4),
        IpNet::V6(_) => None,
    })
}

fn network4(network: Ipv4Net) -> Option<Network<u32>> {
    Network::new(network.addr(), network.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{Pass, Plan as Cluster, UPLINK, address, tables};

    fn planned(change: impl Fn(&mut Link)) -> Plan {
        let mut evidence = Cluster::of(3, Pass::Tables).evidence();
        let links = &mut tables(&mut evidence).links;
        change(links.iter_mut().find(|link| link.index == UPLINK).unwrap());
        plan(&Topology::of(&evidence), evidence.tables.as_ref().unwrap())
    }

    fn on_uplink(plan: &Plan) -> Vec<&str> {
        plan.hooks.iter().filter(|it| it.ifindex == UPLINK).map(|it| it.program).collect()
    }

    #[test]
    fn the_tunnels_and_the_uplinks_addresses_come_before_those_of_services() {
        let cluster = Cluster::of(3, Pass::Tables);
        let mut evidence = cluster.evidence();
        let services = (1..=20).map(|n| address(3, &format!("10.96.0.{n}"), 32));
        let second = address(UPLINK, "192.168.77.99", 24);
        tables(&mut evidence).addresses.splice(0..0, services.chain([second]));
        let plan = plan(&Topology::of(&evidence), evidence.tables.as_ref().unwrap());
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
        let plan = plan(&Topology::of(&evidence), evidence.tables.as_ref().unwrap());
        assert!(plan.unseen[0].starts_with("4 of the node's own addresses"), "{:?}", plan.unseen);
    }

    #[test]
    fn the_link_layer_of_an_uplink_decides_its_programs() {
        let ethernet = planned(|_| {});
        assert_eq!(on_uplink(&ethernet), [names::WIRE_OUT, names::WIRE_IN]);
        let bare = planned(|link| (link.mac, link.layer3) = (None, true));
        assert_eq!(on_uplink(&bare), [names::WIRE_OUT_L3, names::WIRE_IN_L3]);
        assert_eq!(bare.unseen, [""; 0]);
        let infiniband = planned(|link| link.mac = None);
        assert_eq!(on_uplink(&infiniband), [""; 0]);
        assert!(infiniband.unseen[0].starts_with("packets on eth0:"), "{:?}", infiniband.unseen);
    }
}
