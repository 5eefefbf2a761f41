//! Where VIPs are, what announces itself as one, and whose MAC a MAC is.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;

use super::{Topologies, Topology, cidrs};
use crate::evidence::{Address, Link, MacAddress, Tables};

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
/// uplinks, on which others announce themselves. Only devices with an Ethernet header have ARP, and
/// what passes a port of one of them (of a bond, of a bridge) is seen at that one. Of several in one
/// network one is enough, the first that works: all of them hear the same, which must count once.
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
    let meant: Vec<&Link> =
        tables.links.iter().filter(|link| link.mac.is_some()).filter(is_meant).collect();
    let is_port = |link: &Link| meant.iter().any(|it| link.master == Some(it.index));
    let best = |link: &Link| (link.up && link.lower_up, Reverse(link.index));
    let is_second = |link: &Link| {
        let mut others = meant.iter().filter(|it| best(it) > best(link));
        others.any(|other| share_network(tables, link, other))
    };
    meant.iter().filter(|link| !is_port(link) && !is_second(link)).copied().collect()
}

/// Whether two devices have an address in one network. A network of a single address is none, nor is
/// that of link-local ones.
fn share_network(tables: &Tables, one: &Link, other: &Link) -> bool {
    let networks = |link: &Link| -> Vec<IpNet> {
        let all = tables.addresses_of(link.index).filter_map(|it| {
            IpNet::new(it.address, it.prefix_length).ok().map(|network| network.trunc())
        });
        let is_shared = |network: &IpNet| {
            network.prefix_len() < network.max_prefix_len()
                && cidrs::is_global_unicast(network.addr())
        };
        all.filter(is_shared).collect()
    };
    let others = networks(other);
    networks(one).iter().any(|network| others.contains(network))
}

/// The device whose subnet holds an address; of several one that works, of the longest prefix, the
/// first of them: what all of them hear counts at one.
#[must_use]
pub fn vip_device<'a>(devices: &[&'a Link], tables: &Tables, vip: IpAddr) -> Option<&'a Link> {
    let with_length = devices.iter().filter_map(|it| Some((subnet_of(tables, it, vip)?, *it)));
    let best = with_length
        .max_by_key(|(length, link)| (link.up && link.lower_up, *length, Reverse(link.index)));
    best.map(|(_, link)| link)
}

/// Whether an address that `mac` announces is taken for a VIP: one that a node of the cluster says is
/// its own although it is the address of none, and of no pod. This node may have it as kube-vip and
/// keepalived give it one: besides its own.
#[must_use]
pub fn announces_vip(
    topologies: &Topologies<'_>,
    tables: &Tables,
    address: IpAddr,
    mac: MacAddress,
) -> bool {
    let mut own = tables.addresses.iter().filter(|it| it.address == address);
    let is_nodes = own.any(|it| !tables.is_of_services(it) && !is_beside_another(tables, it))
        || topologies.peers().any(|peer| peer.node_ip == Some(address));
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

/// Whether an address stands alone on a device whose network another address there has.
fn is_beside_another(tables: &Tables, own: &Address) -> bool {
    let alone = |it: &Address| it.prefix_length == IpNet::from(it.address).prefix_len();
    let holds = |other: &Address| {
        let network = IpNet::new(other.address, other.prefix_length);
        !alone(other) && network.is_ok_and(|network| network.contains(&own.address))
    };
    alone(own) && tables.addresses_of(own.ifindex).any(holds)
}

/// Length of the prefix by which a device's subnet holds an address.
fn subnet_of(tables: &Tables, link: &Link, address: IpAddr) -> Option<u8> {
    let holds = |length: u8, of: IpAddr| {
        IpNet::new(of, length).is_ok_and(|network| network.contains(&address))
    };
    let mut addresses = tables.addresses_of(link.index);
    addresses.find(|it| holds(it.prefix_length, it.address)).map(|it| it.prefix_length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::testing::{Pass, Plan, UPLINK, address, link, tables, topology},
        evidence::Evidence,
        topology::Topologies,
    };

    const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const SECOND: u32 = 3;

    fn vip() -> IpAddr {
        [192, 168, 77, 230].into()
    }

    /// A second card with an address of the LAN.
    fn with_second_card() -> Evidence {
        let mut evidence = Plan::of(3, Pass::Tables).evidence();
        let tables = tables(&mut evidence);
        tables.links.insert(0, link(SECOND, "eth1", None));
        tables.addresses.push(address(SECOND, "192.168.77.99", 24));
        evidence
    }

    fn chosen(evidence: &Evidence, named: &[&str]) -> (Vec<String>, Option<String>) {
        let tables = evidence.tables.as_ref().unwrap();
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let devices = vip_devices(&Topologies::of(evidence), tables, &[vip()], &named);
        let chosen = vip_device(&devices, tables, vip()).map(|link| link.name.clone());
        (devices.iter().map(|link| link.name.clone()).collect(), chosen)
    }

    #[test]
    fn of_two_cards_of_one_lan_the_first_that_works_is_looked_at() {
        let mut evidence = with_second_card();
        let alone = |name: &str| (vec![name.to_owned()], Some(name.to_owned()));
        assert_eq!(chosen(&evidence, &["eth1"]), alone("eth0"));
        let links = &mut tables(&mut evidence).links;
        links.iter_mut().find(|it| it.index == UPLINK).unwrap().lower_up = false;
        assert_eq!(chosen(&evidence, &[]), alone("eth1"));
    }

    #[test]
    fn a_port_of_a_bond_is_seen_at_the_bond() {
        let mut evidence = Plan::of(3, Pass::Tables).evidence();
        let mut port = link(SECOND, "eth1", None);
        port.master = Some(UPLINK);
        tables(&mut evidence).links.push(port);
        assert_eq!(chosen(&evidence, &["eth1"]).0, ["eth0"]);
    }

    #[test]
    fn an_address_beside_the_nodes_own_is_a_vip_and_the_nodes_own_is_none() {
        let mut evidence = Plan::of(3, Pass::Tables).evidence();
        tables(&mut evidence).addresses.push(address(UPLINK, &vip().to_string(), 32));
        let own = topology(&evidence).overlay.and_then(|it| it.vxlan.as_ref()?.local).unwrap();
        let is_vip = |evidence: &Evidence, address: IpAddr| {
            let tables = evidence.tables.as_ref().unwrap();
            announces_vip(&Topologies::of(evidence), tables, address, OWN)
        };
        assert!(is_vip(&evidence, vip()), "kube-vip's");
        assert!(!is_vip(&evidence, own));
        // As clouds give a node its own address: alone, and there is no other.
        for entry in &mut tables(&mut evidence).addresses {
            if entry.address == own {
                entry.prefix_length = 32;
            }
        }
        assert!(!is_vip(&evidence, own));
        assert!(!is_vip(&evidence, vip()), "nothing tells them apart then");
        let services = link(SECOND, "kube-ipvs0", None);
        for entry in &mut tables(&mut evidence).addresses {
            if entry.address == vip() {
                entry.ifindex = services.index;
            }
        }
        assert!(!is_vip(&evidence, vip()));
        tables(&mut evidence).links.push(services);
        assert!(is_vip(&evidence, vip()), "kube-proxy has it on every node with IPVS");
    }
}
