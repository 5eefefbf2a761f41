use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, MacAddress};

/// The devices that have the addresses of all services, in IPVS mode: kube-proxy's and kube-router's.
const SERVICES: [&str; 2] = ["kube-ipvs0", "kube-dummy-if"];

/// What the kernel has now. Every list is complete: an interrupted dump was repeated.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    /// Network devices of the node's namespace.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: Vec<Address>,
    /// Which devices forward; empty when it was not read.
    #[serde(default)]
    pub forwarding: Vec<Forwarding>,
    /// Policy rules.
    pub rules: Vec<Rule>,
    /// Routes of all tables.
    pub routes: Vec<Route>,
    /// Neighbour entries (ARP and ND), without the FDB.
    pub neighbours: Vec<Neighbour>,
    /// Entries of the VXLAN devices' forwarding databases.
    pub fdb: Vec<FdbEntry>,
    /// UDP sockets on the ports of VXLAN devices that are down: where there are any, something
    /// else may hold such a port. Empty when no such device is down, or nobody could be asked.
    #[serde(default)]
    pub udp_sockets: Vec<UdpSocket>,
    /// What the kernel answered when asked for single routes.
    pub answers: Vec<RouteAnswer>,
    /// Netlink messages that could not be decoded and were left out.
    pub skipped_messages: u64,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// ifindex.
    pub index: u32,
    /// Name, e.g. `flannel.1`.
    pub name: String,
    /// IFLA_INFO_KIND: `vxlan`, `bridge`, `veth`, `tun`, …; `None` for hardware.
    pub kind: Option<String>,
    /// IFF_UP: administratively up.
    pub up: bool,
    /// IFF_LOWER_UP: carrier.
    pub lower_up: bool,
    /// Bytes.
    pub mtu: u32,
    /// The MTU of IPv6 (`net.ipv6.conf.X.mtu`, which a router may announce), where it is another
    /// than the device's; bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu6: Option<u32>,
    /// Hardware address of an Ethernet device; `None` for all others.
    pub mac: Option<MacAddress>,
    /// Frames begin with the IP header: ARPHRD_NONE, PPP and IP tunnels. Without this and without
    /// a MAC the link layer is some other, such as InfiniBand's.
    #[serde(default)]
    pub layer3: bool,
    /// IFLA_MASTER: the bridge or bond this is a port of.
    pub master: Option<u32>,
    /// IFLA_LINK: the lower device; for a veth its other end.
    pub lower: Option<u32>,
    /// The lower device or other end lives in another network namespace (IFLA_LINK_NETNSID).
    pub lower_elsewhere: bool,
    /// Set for VXLAN devices.
    pub vxlan: Option<Vxlan>,
}

/// Settings of a VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP destination port.
    pub port: u16,
    /// IFLA_VXLAN_LOCAL: source of outer packets.
    pub local: Option<IpAddr>,
    /// IFLA_VXLAN_LINK: ifindex of the lower device.
    pub link: Option<u32>,
    /// Learns FDB entries from traffic; flannel's does not.
    pub learning: bool,
    /// Takes tunnel parameters from metadata (`external`); flannel's does not.
    pub external: bool,
    /// Carries group policies (`gbp`); flannel's does not.
    #[serde(default)]
    pub gbp: bool,
    /// IFLA_VXLAN_DF; flannel leaves it unset.
    #[serde(default)]
    pub df: DontFragment,
}

impl Vxlan {
    /// Whether its socket may take outer packets that come from an address: those of the IP version of
    /// its own, and of both without one or with metadata (vxlan_sock_add in
    /// drivers/net/vxlan/vxlan_core.c, Linux 6.18).
    #[must_use]
    pub fn may_hear(&self, source: IpAddr) -> bool {
        self.external || self.local.is_none_or(|local| local.is_ipv4() == source.is_ipv4())
    }
}

/// Which outer packets of a VXLAN device may not be sent in fragments.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DontFragment {
    /// None.
    #[default]
    Unset,
    /// All.
    Set,
    /// Those around a packet that may not.
    Inherit,
}

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// Device.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix_length: u8,
    /// Seconds since it was created (IFA_CACHEINFO cstamp).
    pub created_age: Option<f64>,
    /// IFA_F_DADFAILED: another host has this IPv6 address too, and the kernel does not use it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dad_failed: bool,
}

/// Whether packets that come in by a device are forwarded: `net.ipv4.conf.X.forwarding`, for IPv6
/// `net.ipv6.conf.all.forwarding`: what a device of IPv6 has by itself makes a router of it, and
/// forwards nothing (net/ipv6/ip6_output.c, ip6_forward; Linux 5.10 to 6.18).
///
/// IPv4 asks the device alone (net/ipv4/route.c, ip_route_input_slow; Linux 5.10 to 6.18); writing
/// `all` changes every device, but only when it changes `all` itself (net/ipv4/devinet.c,
/// devinet_sysctl_forward).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// 4 or 6.
    pub family: u8,
    /// Whose setting.
    pub scope: Scope,
    /// Whether it is on.
    pub enabled: bool,
}

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `conf.all`: for IPv4 `net.ipv4.ip_forward`.
    All,
    /// That of the device with this ifindex.
    Device(u32),
}

/// A policy rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// 4 or 6.
    pub family: u8,
    /// Lower is asked first.
    pub priority: u32,
    /// Routing table that it names; 0 for none.
    pub table: u32,
    /// Source selector.
    pub source: Option<IpNet>,
    /// Destination selector.
    pub destination: Option<IpNet>,
    /// Input device selector.
    pub iif: Option<String>,
    /// Whether the rule looks a table up (FR_ACT_TO_TBL).
    pub looks_up: bool,
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the kernel's own names, RTN_*")]
pub enum RouteKind {
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
    Nat,
    Unknown,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `0.0.0.0/0` for a default route.
    pub destination: IpNet,
    /// Routing table: 254 is main, 255 local.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// RTA_PRIORITY; lower wins.
    pub metric: u32,
    /// RTPROT_*: who made it; flannel's are 3 (boot).
    pub protocol: u8,
    /// Where it leads; several for multipath, none for blackhole and its like.
    pub next_hops: Vec<NextHop>,
}

/// One next hop of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Gateway, if not on-link.
    pub gateway: Option<IpAddr>,
    /// Device.
    pub ifindex: Option<u32>,
}

/// A neighbour entry: which MAC an address has on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Device.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Its MAC, when resolved.
    pub mac: Option<MacAddress>,
    /// NUD_* state.
    pub state: NeighbourState,
    /// Seconds since it was last written (NDA_CACHEINFO).
    pub updated_age: Option<f64>,
    /// Seconds since it was last confirmed (NDA_CACHEINFO).
    pub confirmed_age: Option<f64>,
}

/// NUD_* state of a neighbour entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the kernel's own names, NUD_*")]
pub enum NeighbourState {
    None,
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    NoArp,
    Permanent,
}

impl NeighbourState {
    /// Whether the kernel sends with this entry: NUD_VALID (include/net/neighbour.h).
    #[must_use]
    pub const fn is_valid(self) -> bool {
        !matches!(self, Self::None | Self::Incomplete | Self::Failed)
    }
}

/// An FDB entry of a VXLAN device: to which node a MAC is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// Device.
    pub ifindex: u32,
    /// Key.
    pub mac: MacAddress,
    /// NDA_DST: node address; `None` for entries that name no remote.
    pub destination: Option<IpAddr>,
    /// NUD_PERMANENT, as flannel's are.
    pub permanent: bool,
    /// Seconds since it was last written (NDA_CACHEINFO).
    pub updated_age: Option<f64>,
}

/// A UDP socket of the node's network namespace, of a process or of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpSocket {
    /// The address that it is bound to; unspecified for all.
    pub address: IpAddr,
    /// The port that it is bound to.
    pub port: u16,
    /// Bound to an IPv6 address, it takes no IPv4 packets (IPV6_V6ONLY).
    pub v6_only: bool,
}

/// From where a route was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// As a forwarded packet of a local pod: with iif and a pod's source address.
    Pods,
    /// As a packet of the node itself.
    Node,
}

/// What the kernel answered when asked for the route of one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAnswer {
    /// The address that was asked for.
    pub destination: IpAddr,
    /// As whose packet.
    pub origin: Origin,
    /// The answer.
    pub outcome: RouteOutcome,
}

/// The kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteOutcome {
    /// The packet would go by this route (its matched prefix, table and next hop).
    Route(Route),
    /// It would be refused, with this positive errno: 22 blackhole, 113 unreachable,
    /// 13 prohibit, 101 no route (net/ipv4/fib_semantics.c, fib_props).
    Refused(i32),
}

impl Link {
    /// The largest packet of an IP version that leaves in one piece, bytes.
    #[must_use]
    pub fn mtu_of(&self, family: Family) -> u32 {
        match family {
            Family::V4 => self.mtu,
            Family::V6 => self.mtu6.map_or(self.mtu, |mtu6| mtu6.min(self.mtu)),
        }
    }
}

impl Tables {
    /// The device with this number.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The device with this name.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Addresses of a device.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |address| address.ifindex == index)
    }

    /// Whether forwarding is on for a family (4 or 6); `None` when it was not read.
    #[must_use]
    pub fn forwards(&self, family: u8, scope: Scope) -> Option<bool> {
        let mut settings = self.forwarding.iter();
        Some(settings.find(|it| it.family == family && it.scope == scope)?.enabled)
    }

    /// Whether kube-proxy or kube-router has given a service's address to this node, as to every other: in
    /// IPVS mode a device has those of all services.
    #[must_use]
    pub fn is_of_services(&self, own: &Address) -> bool {
        let mut links = SERVICES.iter().filter_map(|name| self.link_named(name));
        links.any(|link| link.index == own.ifindex)
    }

    /// Whether an address is one of this node's own, and not only as those of all services are.
    #[must_use]
    pub fn is_of_node(&self, address: IpAddr) -> bool {
        let mut own = self.addresses.iter().filter(|own| own.address == address);
        own.any(|own| !self.is_of_services(own))
    }

    /// Whether an address is one of this node's own.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }

    /// Whether an address is one of this node's own, and packets to it are taken: the kernel makes
    /// the route to itself only when the detection of duplicates has passed
    /// (net/ipv6/addrconf.c, addrconf_dad_completed; Linux 6.18).
    #[must_use]
    pub fn takes_packets_to(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address && !own.dad_failed)
    }
}
