//! What a lab looks like: nodes, addresses, names. Plain data, no I/O.
//!
//! A plan is drawn from a seed by [`Plan::draw`] and kept beside a running lab, so that every later
//! command knows what was built.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use crate::family::{Addresses, Both, Family, Networks, Stack};
use crate::netns;

/// UDP and TCP port on which every pod echoes what it receives.
pub const ECHO_PORT: u16 = 7007;
/// TCP port that swallows everything and answers with the number of bytes at the end.
pub const SINK_PORT: u16 = 7009;
/// UDP port that swallows everything and never answers.
pub const SYSLOG_PORT: u16 = 514;
/// A port on which no pod listens.
pub const CLOSED_PORT: u16 = 7999;
/// The name that the lab's DNS server knows.
pub const DNS_NAME: &str = "web.default.svc.cluster.local";

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// The families that the cluster speaks. Addresses are drawn of both all the same.
    pub stack: Stack,
    /// The node network.
    pub lan: Lan,
    /// The pod network of all nodes (FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK).
    pub cluster: Networks,
    /// The service network.
    pub services: Networks,
    /// The DNS service.
    pub dns: Dns,
    /// VXLAN network identifier; the overlay devices are named after it.
    pub vni: u32,
    /// UDP port of the tunnel.
    pub port: u16,
    /// Which packet filter flannel uses for its own rules.
    pub flannel_rules: FlannelRules,
    /// Which packet filter kube-proxy uses.
    pub proxy_rules: ProxyRules,
    /// Whether the bridges hand their packets to iptables (br_netfilter), as Kubernetes wants it.
    pub bridge_netfilter: bool,
    /// One to five nodes.
    pub nodes: Vec<Node>,
    /// Where a fault strikes.
    pub site: Site,
}

/// The node network: one Ethernet segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lan {
    /// Its addresses.
    pub network: Networks,
    /// The default gateway: it swallows what is not for itself.
    pub gateway: Addresses,
    /// A machine that is no node of the cluster.
    pub client: Addresses,
    /// A service address of the LAN, announced by [`Lan::vip_owner`].
    pub vip: Addresses,
    /// Index of the node that the client reaches the VIP by.
    pub vip_owner: usize,
    /// MTU of every uplink, bytes.
    pub mtu: u32,
    /// What the uplinks are.
    #[serde(default)]
    pub uplink: UplinkKind,
}

/// What the uplinks are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UplinkKind {
    /// Cards in a switch.
    #[default]
    Ethernet,
    /// TUN devices, packets without an Ethernet header: [`crate::relay`] carries them.
    Tun,
}

/// The DNS service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Its service address.
    pub cluster_ip: Addresses,
    /// Index of the node that has the server's pod.
    pub node: usize,
    /// Address of the server's pod.
    pub pod_ip: Addresses,
}

/// Which packet filter flannel uses for its own rules.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlannelRules {
    /// Chains FLANNEL-FWD and FLANNEL-POSTRTG.
    #[default]
    Iptables,
    /// Tables flannel-ipv4 and flannel-ipv6 (`EnableNFTables`).
    Nftables,
}

/// Which packet filter kube-proxy uses for its rules.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyRules {
    /// Chains KUBE-SERVICES and so on.
    #[default]
    Iptables,
    /// Table kube-proxy.
    Nftables,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `n1` to `n5`.
    pub name: String,
    /// Its network namespace.
    pub namespace: String,
    /// Name of its uplink.
    pub uplink: String,
    /// MAC of its uplink.
    pub uplink_mac: Mac,
    /// Its address on the LAN.
    pub ip: Addresses,
    /// Its pod CIDR.
    pub subnet: Networks,
    /// MAC of its overlay device.
    pub vtep_mac: Both<Mac>,
    /// Name of its bridge.
    pub bridge: String,
    /// Whether and how the bridge exists.
    pub bridge_state: BridgeState,
    /// Its pods; on the DNS node the last one is the DNS server.
    pub pods: Vec<Pod>,
    /// Indexes of all other nodes, in the order in which their entries are written.
    pub peer_order: Vec<usize>,
}

/// Whether and how a node's bridge exists.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BridgeState {
    /// It holds the pods.
    #[default]
    WithPods,
    /// It is there, the pods are gone: NO-CARRIER.
    Empty,
    /// No pod has ever been started here.
    Absent,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `n1-p1`, or `n2-dns`.
    pub name: String,
    /// Its network namespace.
    pub namespace: String,
    /// Its address.
    pub ip: Addresses,
    /// The node's end of its veth pair.
    pub veth: String,
}

/// Where something happens: indexes into [`Plan::nodes`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The node that has it.
    pub victim: usize,
    /// The peer that it concerns; equal to the victim in a lab of one node.
    pub peer: usize,
    /// The family that is struck; in a lab of one family, that one.
    pub family: Family,
}

/// A node in one family: what its peers know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Its address on the LAN, from which the overlay device sends.
    pub ip: IpAddr,
    /// Its pod CIDR.
    pub subnet: IpNet,
    /// MAC of the overlay device.
    pub vtep_mac: Mac,
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

// === impl Plan ===

impl Plan {
    /// The families that the cluster speaks.
    #[must_use]
    pub fn families(&self) -> &'static [Family] {
        self.stack.families()
    }

    /// Name of the overlay device of a family, the same on all nodes.
    #[must_use]
    pub fn overlay(&self, family: Family) -> String {
        match family {
            Family::V4 => format!("flannel.{}", self.vni),
            Family::V6 => format!("flannel-v6.{}", self.vni),
        }
    }

    /// Names of the overlay devices of all families.
    #[must_use]
    pub fn overlays(&self) -> Vec<String> {
        self.families().iter().map(|family| self.overlay(*family)).collect()
    }

    /// MTU of the overlay device of a family, bytes.
    #[must_use]
    pub fn overlay_mtu(&self, family: Family) -> u32 {
        self.lan.mtu - family.vxlan_overhead()
    }

    /// MTU of bridge and pods, bytes: that of the first overlay device, as flannel says it in
    /// subnet.env. With both families the second device is smaller than the pods.
    #[must_use]
    pub fn pod_mtu(&self) -> u32 {
        self.overlay_mtu(self.families()[0])
    }

    /// Indexes of all nodes.
    #[must_use]
    pub fn all_nodes(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// Indexes of all nodes but one.
    #[must_use]
    pub fn others(&self, node: usize) -> Vec<usize> {
        self.all_nodes().into_iter().filter(|other| *other != node).collect()
    }

    /// The node that a fault strikes.
    #[must_use]
    pub fn victim(&self) -> &Node {
        &self.nodes[self.site.victim]
    }

    /// The peer that a fault concerns.
    #[must_use]
    pub fn peer(&self) -> &Node {
        &self.nodes[self.site.peer]
    }

    /// Where DNS queries go in a family.
    #[must_use]
    pub fn dns_server(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.dns.cluster_ip.of(family), 53)
    }

    /// Index of a node by its name.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// All namespaces of the lab.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let shared = [netns::SWITCH, netns::GATEWAY, netns::CLIENT].map(str::to_owned);
        let of_nodes = self.nodes.iter().flat_map(|node| {
            let pods = node.pods.iter().map(|pod| pod.namespace.clone());
            std::iter::once(node.namespace.clone()).chain(pods)
        });
        shared.into_iter().chain(of_nodes).collect()
    }
}

// === impl Lan ===

impl Lan {
    /// Length of the prefix that a node's address of a family has: alone where nothing is on its
    /// link.
    #[must_use]
    pub fn node_prefix(&self, family: Family) -> u8 {
        match self.uplink {
            UplinkKind::Ethernet => self.network.of(family).prefix_len(),
            UplinkKind::Tun => family.bits(),
        }
    }
}

// === impl Node ===

impl Node {
    /// What its peers know of it in a family.
    #[must_use]
    pub fn end(&self, family: Family) -> End {
        End {
            ip: self.ip.of(family),
            subnet: self.subnet.of(family),
            vtep_mac: self.vtep_mac.of(family),
        }
    }

    /// The pod that background traffic starts from and goes to; `None` on a node without pods.
    #[must_use]
    pub fn first_pod(&self) -> Option<&Pod> {
        self.pods.first()
    }
}

// === impl Pod ===

impl Pod {
    /// A port of its address of a family.
    #[must_use]
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip.of(family), port)
    }
}

// === impl End ===

impl End {
    /// Address of the overlay device, which the peers route by: the pod CIDR's network address.
    #[must_use]
    pub fn flannel_ip(&self) -> IpAddr {
        self.subnet.network()
    }

    /// The bridge's address, the first of the pod CIDR, with the length of that.
    #[must_use]
    pub fn bridge_address(&self) -> IpNet {
        match self.subnet {
            IpNet::V4(net) => {
                let first = net.network().to_bits() + 1;
                IpNet::new_assert(IpAddr::V4(first.into()), net.prefix_len())
            }
            IpNet::V6(net) => {
                let first = net.network().to_bits() + 1;
                IpNet::new_assert(IpAddr::V6(first.into()), net.prefix_len())
            }
        }
    }

    /// The bridge's address: the first of the pod CIDR.
    #[must_use]
    pub fn bridge_ip(&self) -> IpAddr {
        self.bridge_address().addr()
    }
}

// === impl Mac ===

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
