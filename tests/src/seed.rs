//! Draws a plan from a seed: the same seed and shape give the same plan on every machine.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use rand::{
    RngExt,
    seq::{IndexedRandom, SliceRandom},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    netns,
    plan::{
        Addresses, Both, BridgeState, Dns, Family, FlannelRules, Lan, Mac, Networks, Node, Plan,
        Pod, ProxyRules, Site, Stack, UplinkKind,
    },
};

/// Most nodes that a lab can have.
pub const MAX_NODES: usize = 5;

const PODS_PER_NODE: usize = 2;
/// What tailscaled calls its device.
const TUN_NAME: &str = "tailscale0";
const UPLINK_NAMES: [&str; 6] = ["eth0", "ens3", "ens18", "enp1s0", "enp0s31f6", "eno1"];
/// `cni0` is what flannel's CNI plugin calls it; the others are what people configure.
const BRIDGE_NAMES: [&str; 5] = ["cni0", "cni0", "cni0", "cbr0", "kube-bridge"];
/// 8472 is flannel's port on Linux; 4789 is left to the other VXLAN users of a node.
const PORTS: [u16; 4] = [8472, 8472, 8473, 14789];
/// The stream of random numbers that IPv6 is drawn from: a seed gives the same IPv4 without it.
const STREAM_OF_V6: u64 = 6;

/// What is asked of a plan; the seed draws the rest.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The number of nodes; drawn when `None`.
    pub nodes: Option<usize>,
    /// The least number of nodes when it is drawn.
    pub min_nodes: usize,
    /// The families that the cluster speaks.
    pub stack: Stack,
    /// MTU of the uplinks, bytes.
    pub uplink_mtu: u32,
    /// What the uplinks are.
    pub uplink: UplinkKind,
    /// The bridge of the victim; anything but [`BridgeState::WithPods`] makes it a node without pods.
    pub victim_bridge: BridgeState,
    /// Which packet filter flannel uses.
    pub flannel_rules: FlannelRules,
    /// Which packet filter kube-proxy uses.
    pub proxy_rules: ProxyRules,
    /// Whether the bridges hand their packets to iptables, where the kernel can.
    pub bridge_netfilter: bool,
}

/// A seed that nobody chose, short enough to be typed again.
#[must_use]
pub fn random() -> u64 {
    u64::from(rand::random::<u32>())
}

// === impl Shape ===

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: None,
            min_nodes: 1,
            stack: Stack::V4,
            uplink_mtu: 1500,
            uplink: UplinkKind::Ethernet,
            victim_bridge: BridgeState::WithPods,
            flannel_rules: FlannelRules::Iptables,
            proxy_rules: ProxyRules::Iptables,
            bridge_netfilter: true,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Draws a plan. `shape.nodes` must lie in 1..=[`MAX_NODES`].
    ///
    /// All five nodes are drawn whatever the number of nodes, so that the same seed gives the same
    /// addresses in a small and in a large lab; and both families, whatever the stack.
    #[must_use]
    pub fn draw(seed: u64, shape: &Shape) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let six = &mut rng.clone();
        six.set_stream(STREAM_OF_V6);
        let drawn_count = rng.random_range(shape.min_nodes..=MAX_NODES);
        let count = shape.nodes.unwrap_or(drawn_count).clamp(1, MAX_NODES);
        let second_octets = distinct::<2>(rng, 64..=250);
        let [cluster, services] = second_octets.map(|octet| Ipv4Addr::new(10, octet, 0, 0));
        let cluster = Both { v4: network(cluster, 16), v6: unique_local(six, 56) };
        let services = Both { v4: network(services, 16), v6: unique_local(six, 112) };
        let vni = if rng.random_bool(0.7) { 1 } else { rng.random_range(2..=4000) };
        let port = pick(rng, &PORTS);
        let mut lan = draw_lan(rng, unique_local(six, 64), shape.uplink_mtu);
        let mut nodes = draw_nodes(rng, six, &lan, cluster);
        let site = Site { family: pick(six, shape.stack.families()), ..draw_site(rng, count) };
        lan.vip_owner = rng.random_range(0..MAX_NODES) % count;
        lan.uplink = shape.uplink;
        // Drawn last, and away from the victim of a lab that leaves its victim without pods.
        let dns_node = draw_dns_node(rng, count, site, shape.victim_bridge);
        nodes.truncate(count);
        if shape.uplink == UplinkKind::Tun {
            nodes.iter_mut().for_each(|node| TUN_NAME.clone_into(&mut node.uplink));
        }
        for node in &mut nodes {
            node.peer_order.retain(|peer| *peer < count);
        }
        let dns = add_dns_pod(rng, &mut nodes, dns_node, services);
        empty_victim(&mut nodes[site.victim], shape.victim_bridge);
        let Shape { stack, flannel_rules, proxy_rules, bridge_netfilter, .. } = *shape;
        Self {
            seed,
            stack,
            lan,
            cluster,
            services,
            dns,
            vni,
            port,
            flannel_rules,
            proxy_rules,
            bridge_netfilter,
            nodes,
            site,
        }
    }
}

fn draw_lan(rng: &mut ChaCha8Rng, v6: Ipv6Net, mtu: u32) -> Lan {
    let base = if rng.random_bool(0.5) {
        Ipv4Addr::new(192, 168, rng.random_range(0..=255), 0)
    } else {
        Ipv4Addr::new(172, rng.random_range(16..=31), rng.random_range(0..=255), 0)
    };
    let network = Both { v4: network(base, 24), v6 };
    let gateway = if rng.random_bool(0.5) { 1 } else { 254 };
    // Nodes get 10 to 199: see `draw_nodes`.
    Lan {
        network,
        gateway: host(network, gateway),
        client: host(network, rng.random_range(200..=219)),
        vip: host(network, rng.random_range(220..=249)),
        vip_owner: 0,
        mtu,
        uplink: UplinkKind::Ethernet,
    }
}

fn draw_nodes(
    rng: &mut ChaCha8Rng,
    six: &mut ChaCha8Rng,
    lan: &Lan,
    cluster: Networks,
) -> Vec<Node> {
    let hosts = distinct::<MAX_NODES>(rng, 10..=199);
    let thirds = distinct::<MAX_NODES>(rng, 0..=255);
    (0..MAX_NODES)
        .map(|index| {
            let name = format!("n{}", index + 1);
            let subnet = subnet(cluster, thirds[index]);
            let mut peer_order: Vec<usize> = (0..MAX_NODES).filter(|peer| *peer != index).collect();
            peer_order.shuffle(rng);
            Node {
                namespace: netns::of(&name),
                uplink: pick(rng, &UPLINK_NAMES).to_owned(),
                uplink_mac: draw_mac(rng),
                ip: host(lan.network, hosts[index]),
                subnet,
                vtep_mac: Both { v4: draw_mac(rng), v6: draw_mac(six) },
                bridge: pick(rng, &BRIDGE_NAMES).to_owned(),
                bridge_state: BridgeState::WithPods,
                pods: draw_pods(rng, &name, subnet),
                peer_order,
                name,
            }
        })
        .collect()
}

fn draw_pods(rng: &mut ChaCha8Rng, node: &str, subnet: Networks) -> Vec<Pod> {
    let hosts = distinct::<PODS_PER_NODE>(rng, 2..=199);
    hosts
        .iter()
        .enumerate()
        .map(|(index, last)| draw_pod(rng, &format!("{node}-p{}", index + 1), subnet, *last))
        .collect()
}

fn draw_pod(rng: &mut ChaCha8Rng, name: &str, subnet: Networks, last: u8) -> Pod {
    Pod {
        name: name.to_owned(),
        namespace: netns::of(name),
        ip: host(subnet, last),
        // The bridge plugin names them so.
        veth: format!("veth{:08x}", rng.random::<u32>()),
    }
}

fn draw_site(rng: &mut ChaCha8Rng, count: usize) -> Site {
    let victim = rng.random_range(0..MAX_NODES) % count;
    let step = rng.random_range(1..MAX_NODES);
    let peer = if count == 1 { victim } else { (victim + 1 + step % (count - 1)) % count };
    Site { victim, peer, family: Family::V4 }
}

fn draw_dns_node(rng: &mut ChaCha8Rng, count: usize, site: Site, bridge: BridgeState) -> usize {
    let drawn = rng.random_range(0..MAX_NODES) % count;
    if bridge != BridgeState::WithPods && drawn == site.victim { site.peer } else { drawn }
}

fn add_dns_pod(rng: &mut ChaCha8Rng, nodes: &mut [Node], index: usize, services: Networks) -> Dns {
    let node = &mut nodes[index];
    // Above the addresses of the other pods.
    let last = rng.random_range(200..=250);
    let pod = draw_pod(rng, &format!("{}-dns", node.name), node.subnet, last);
    let pod_ip = pod.ip;
    node.pods.push(pod);
    Dns { cluster_ip: host(services, 10), node: index, pod_ip }
}

fn empty_victim(victim: &mut Node, bridge: BridgeState) {
    victim.bridge_state = bridge;
    if bridge != BridgeState::WithPods {
        victim.pods.clear();
    }
}

fn draw_mac(rng: &mut ChaCha8Rng) -> Mac {
    let mut mac: [u8; 6] = rng.random();
    // Locally administered, unicast.
    mac[0] = mac[0] & 0xfc | 0x02;
    Mac(mac)
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    *from.choose(rng).expect("the lists above are not empty")
}

/// `N` different numbers of a range that has at least `N`.
fn distinct<const N: usize>(rng: &mut ChaCha8Rng, range: std::ops::RangeInclusive<u8>) -> [u8; N] {
    let mut numbers: Vec<u8> = range.collect();
    numbers.shuffle(rng);
    std::array::from_fn(|index| numbers[index])
}

fn network(address: Ipv4Addr, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, length)
}

/// A network of a unique local prefix (RFC 4193): 40 random bits behind fd00::/8.
fn unique_local(rng: &mut ChaCha8Rng, length: u8) -> Ipv6Net {
    let global: u64 = rng.random::<u64>() >> 24;
    let bits = (0xfd << 120) | (u128::from(global) << 80);
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), length)
}

/// A node's share of the pod network.
fn subnet(cluster: Networks, number: u8) -> Networks {
    let [ten, second, ..] = cluster.v4.network().octets();
    let bits = cluster.v6.network().to_bits() | (u128::from(number) << 64);
    Both {
        v4: network(Ipv4Addr::new(ten, second, number, 0), 24),
        v6: Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64),
    }
}

fn host(network: Networks, last: u8) -> Addresses {
    let [a, b, c, _] = network.v4.network().octets();
    let bits = network.v6.network().to_bits() | u128::from(last);
    Both { v4: Ipv4Addr::new(a, b, c, last), v6: Ipv6Addr::from_bits(bits) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn plans() -> impl Iterator<Item = Plan> {
        (0..200).map(|seed| Plan::draw(seed, &Shape::default()))
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        for plan in plans() {
            assert_eq!(plan, Plan::draw(plan.seed, &Shape::default()));
        }
        let distinct: HashSet<String> = plans().map(|plan| format!("{plan:?}")).collect();
        assert_eq!(distinct.len(), 200);
    }

    #[test]
    fn every_number_of_nodes_is_drawn() {
        let counts: HashSet<usize> = plans().map(|plan| plan.nodes.len()).collect();
        assert_eq!(counts, (1..=MAX_NODES).collect());
    }

    #[test]
    fn addresses_are_distinct_and_where_they_belong() {
        for plan in plans() {
            for family in Stack::Dual.families() {
                assert_addresses(&plan, *family);
            }
        }
    }

    fn assert_addresses(plan: &Plan, family: Family) {
        let lan = &plan.lan;
        let mut seen = HashSet::from([&lan.gateway, &lan.client, &lan.vip].map(|it| it.of(family)));
        for node in &plan.nodes {
            let end = node.end(family);
            assert!(lan.network.of(family).contains(&end.ip) && seen.insert(end.ip), "{plan:?}");
            assert!(plan.cluster.of(family).contains(&end.subnet), "{plan:?}");
            assert!(seen.insert(end.bridge_ip()) && seen.insert(end.flannel_ip()), "{plan:?}");
            for pod in &node.pods {
                let ip = pod.ip.of(family);
                assert!(end.subnet.contains(&ip) && seen.insert(ip), "{plan:?}");
            }
        }
        assert!(!plan.services.of(family).contains(&plan.cluster.of(family)), "{plan:?}");
    }

    #[test]
    fn both_families_are_struck_in_labs_of_both_and_none_that_is_not_spoken() {
        for stack in [Stack::V4, Stack::V6, Stack::Dual] {
            let shape = Shape { stack, ..Shape::default() };
            let struck: HashSet<Family> =
                (0..50).map(|seed| Plan::draw(seed, &shape).site.family).collect();
            assert_eq!(struck, stack.families().iter().copied().collect());
        }
    }

    #[test]
    fn the_stack_changes_no_address() {
        for plan in plans() {
            let shape = Shape { stack: Stack::Dual, ..Shape::default() };
            assert_eq!(Plan::draw(plan.seed, &shape).nodes, plan.nodes);
        }
    }

    #[test]
    fn victim_and_peer_differ_where_there_is_a_peer() {
        for plan in plans() {
            assert_eq!(plan.site.victim != plan.site.peer, plan.nodes.len() > 1, "{plan:?}");
            assert!(plan.site.victim.max(plan.site.peer) < plan.nodes.len(), "{plan:?}");
        }
    }

    #[test]
    fn the_number_of_nodes_does_not_change_their_addresses() {
        for seed in 0..20 {
            let of = |nodes| {
                Plan::draw(seed, &Shape { nodes: Some(nodes), ..Shape::default() }).nodes[0].ip
            };
            assert_eq!(of(1), of(5));
        }
    }

    #[test]
    fn a_victim_without_pods_has_none_and_the_dns_server_is_elsewhere() {
        for seed in 0..50 {
            let shape =
                Shape { min_nodes: 2, victim_bridge: BridgeState::Absent, ..Shape::default() };
            let plan = Plan::draw(seed, &shape);
            assert!(plan.victim().pods.is_empty(), "{plan:?}");
            assert_ne!(plan.dns.node, plan.site.victim, "{plan:?}");
        }
    }

    #[test]
    fn names_fit_into_a_device_name() {
        for plan in plans() {
            assert!(plan.overlay(Family::V6).len() < libc::IFNAMSIZ);
            for node in &plan.nodes {
                assert!(node.pods.iter().all(|pod| pod.veth.len() < libc::IFNAMSIZ));
            }
        }
    }
}
