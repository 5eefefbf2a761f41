//! Who is who: the devices' roles, the node's own pod CIDRs, the cluster's, and the peers.
//!
//! flannel serves each IP version with a VXLAN device and entries of its own, so each has a
//! [`Topology`], and a node has one or two of them, its [`Topologies`].
//!
//! Pure: tables and intent in, names out. Collectors use it to know what to ask and where to
//! attach; rules use it to judge. IPv6 link-local and multicast entries never become peers.

mod candidates;
mod cidrs;
mod families;
mod index;
mod overlay;
mod peer;
mod question;
mod roles;
mod signs;
#[cfg(test)]
mod tests;
mod uplinks;
mod vips;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::evidence::{
    Family, FdbEntry, Intent, Link, Neighbour, PeerIntent, Roles, Route, RouteKind, Tables, Traffic,
};

pub use self::{
    cidrs::nth_address,
    families::{Topologies, undecided_ipv6},
    peer::{Answers, LifeSign, Peer, is_resolved, refuses},
    question::Question,
    roles::{RoleProblem, detect_roles},
    signs::{other_backend, signs_of_flannel},
    vips::{MacOwner, announces_vip, mac_owner, mac_owner_in, vip_device, vip_devices},
};

/// RT_TABLE_MAIN (include/uapi/linux/rtnetlink.h).
pub const TABLE_MAIN: u32 = 254;
/// RT_TABLE_LOCAL (include/uapi/linux/rtnetlink.h).
pub const TABLE_LOCAL: u32 = 255;

/// One node and its peers, by name, as far as one IP version goes.
#[derive(Debug, Clone)]
pub struct Topology<'a> {
    /// The IP version of the pods; flannel's tunnel has the same.
    pub family: Family,
    /// The tables, when they could be read.
    pub tables: Option<&'a Tables>,
    /// What flannel means them to hold.
    pub intent: &'a Intent,
    /// What the stages counted, when they were observed.
    pub traffic: Option<&'a Traffic>,
    /// flannel's VXLAN device.
    pub overlay: Option<&'a Link>,
    /// The bridge of the pods.
    pub bridge: Option<&'a Link>,
    /// The devices towards the peers.
    pub uplinks: Vec<&'a Link>,
    /// Pod CIDRs of this node.
    pub own_cidrs: Vec<IpNet>,
    /// Pod networks of the cluster; inferred when nothing names them.
    pub cluster_cidrs: Vec<IpNet>,
    /// The other nodes, in the order of their CIDRs.
    pub peers: Vec<Peer<'a>>,
}

impl<'a> Topology<'a> {
    /// The topology of one IP version that these parts show; collectors have no traffic yet.
    fn from_parts(
        family: Family,
        tables: Option<&'a Tables>,
        intent: &'a Intent,
        roles: &Roles,
        traffic: Option<&'a Traffic>,
    ) -> Self {
        let link = |index: &u32| tables.and_then(|tables| tables.link(*index));
        let overlay = roles.overlay_of(family);
        let own_cidrs = cidrs::own(tables, intent, family, overlay, roles.bridge);
        let mut topology = Self {
            family,
            tables,
            intent,
            traffic,
            overlay: overlay.as_ref().and_then(link),
            bridge: roles.bridge.as_ref().and_then(link),
            uplinks: roles.uplinks.iter().filter_map(link).collect(),
            cluster_cidrs: cidrs::cluster(intent, family, &own_cidrs),
            own_cidrs,
            peers: Vec::new(),
        };
        topology.peers = peer::all(&topology);
        topology
    }

    /// The peers that a file or the API names with a pod CIDR of this IP version.
    pub fn intended(&self) -> impl Iterator<Item = &'a PeerIntent> + use<'a> {
        let family = self.family;
        self.intent.peers.iter().filter(move |peer| Family::of_net(peer.pod_cidr) == family)
    }

    /// The peer that owns `cidr`.
    #[must_use]
    pub fn peer(&self, cidr: IpNet) -> Option<&Peer<'a>> {
        self.peers.iter().find(|peer| peer.cidr == cidr)
    }

    /// The peer in whose CIDR `address` lies.
    #[must_use]
    pub fn peer_of(&self, address: IpAddr) -> Option<&Peer<'a>> {
        self.peers.iter().find(|peer| peer.cidr.contains(&address))
    }

    /// Whether `address` lies in this node's pod CIDRs.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own_cidrs.iter().any(|cidr| cidr.contains(&address))
    }

    /// Whether the overlay device is up and can have routes. For IPv4 it needs an address: without
    /// one the kernel takes the routes away (net/ipv4/fib_frontend.c, `fib_disable_ip`, Linux
    /// 6.18); for IPv6 the link-local one will do, which is there unless IPv6 is switched off or
    /// the MTU is too small for it (net/ipv6/addrconf.c, `addrconf_notify`).
    #[must_use]
    pub fn overlay_serves(&self) -> bool {
        let serves = |tables: &Tables, overlay: &Link| match self.family {
            Family::V4 => self.overlay_addresses().next().is_some(),
            Family::V6 => {
                tables.addresses_of(overlay.index).any(|it| Family::of(it.address) == Family::V6)
            }
        };
        self.tables.zip(self.overlay).is_some_and(|(tables, it)| it.up && serves(tables, it))
    }

    /// The overlay device's own addresses of this IP version, without link-local ones.
    pub fn overlay_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.tables
            .zip(self.overlay)
            .into_iter()
            .flat_map(|(tables, overlay)| cidrs::global_addresses(tables, overlay.index))
            .map(|address| address.address)
            .filter(|address| Family::of(*address) == self.family)
    }

    /// Unicast routes of this IP version that leave by the overlay device, in all tables but the
    /// local one. Those of link-local addresses and of the device's own IPv6 address, which the
    /// kernel makes itself, are left out.
    pub fn overlay_routes(&self) -> impl Iterator<Item = &'a Route> + use<'a> {
        let family = self.family;
        self.tables.zip(self.overlay).into_iter().flat_map(move |(tables, overlay)| {
            tables.routes.iter().filter(move |route| {
                Family::of_net(route.destination) == family
                    && route.kind == RouteKind::Unicast
                    && route.table != TABLE_LOCAL
                    && leaves_by(route, overlay.index)
                    && !cidrs::is_ipv6_link_local(route.destination.addr())
                    && !is_own_host(tables, route)
            })
        })
    }

    /// Neighbour entries of the overlay device with which the kernel sends, and which may belong
    /// to a peer: no link-local, no multicast ones.
    pub fn overlay_neighbours(&self) -> impl Iterator<Item = &'a Neighbour> + use<'a> {
        let family = self.family;
        self.tables.zip(self.overlay).into_iter().flat_map(move |(tables, overlay)| {
            tables.neighbours.iter().filter(move |entry| {
                entry.ifindex == overlay.index
                    && Family::of(entry.address) == family
                    && is_resolved(entry)
                    && cidrs::is_global_unicast(entry.address)
            })
        })
    }

    /// FDB entries of the overlay device that send a unicast MAC to a node.
    pub fn overlay_fdb(&self) -> impl Iterator<Item = &'a FdbEntry> {
        self.tables.zip(self.overlay).into_iter().flat_map(|(tables, overlay)| {
            tables.fdb.iter().filter(move |entry| {
                entry.ifindex == overlay.index
                    && entry.destination.is_some()
                    && signs::is_unicast_mac(entry.mac)
            })
        })
    }
}

/// Whether a route leads to an address of this node alone: `fd00:244:1::/128 dev flannel-v6.1`, which
/// the kernel writes into table main too (net/ipv6/addrconf.c, `addrconf_prefix_route`, Linux 6.18).
fn is_own_host(tables: &Tables, route: &Route) -> bool {
    route.destination.prefix_len() == route.destination.max_prefix_len()
        && tables.is_local(route.destination.addr())
}

/// Whether a next hop of `route` is device `index`.
#[must_use]
pub fn leaves_by(route: &Route, index: u32) -> bool {
    route.next_hops.iter().any(|hop| hop.ifindex == Some(index))
}
