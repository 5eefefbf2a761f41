//! Who is who: the devices' roles, the node's own pod CIDRs, the cluster's, and the peers.
//!
//! Pure: tables and intent in, names out. Collectors use it to know what to ask and where to
//! attach; rules use it to judge. IPv6 link-local and multicast entries never become peers.

mod candidates;
mod cidrs;
mod index;
mod overlay;
mod peer;
mod question;
mod roles;
mod signs;
#[cfg(test)]
mod tests;
mod uplinks;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::evidence::{
    Evidence, FdbEntry, Intent, Link, Neighbour, Roles, Route, RouteKind, Tables, Traffic,
};

pub use self::{
    cidrs::nth_address,
    peer::{Answers, LifeSign, Peer, is_resolved, refuses},
    question::{Question, questions},
    roles::{RoleProblem, detect_roles},
    signs::{other_backend, signs_of_flannel},
};

/// RT_TABLE_MAIN (include/uapi/linux/rtnetlink.h).
pub const TABLE_MAIN: u32 = 254;
/// RT_TABLE_LOCAL (include/uapi/linux/rtnetlink.h).
pub const TABLE_LOCAL: u32 = 255;

/// One node and its peers, by name.
#[derive(Debug, Clone)]
pub struct Topology<'a> {
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
    /// The topology that evidence shows.
    #[must_use]
    pub fn of(evidence: &'a Evidence) -> Self {
        Self::from_parts(
            evidence.tables.as_ref(),
            &evidence.intent,
            &evidence.roles,
            evidence.traffic.as_ref(),
        )
    }

    /// The topology that these parts show; collectors have no traffic yet.
    #[must_use]
    pub fn from_parts(
        tables: Option<&'a Tables>,
        intent: &'a Intent,
        roles: &Roles,
        traffic: Option<&'a Traffic>,
    ) -> Self {
        let link = |index: &u32| tables.and_then(|tables| tables.link(*index));
        let own_cidrs = cidrs::own(tables, intent, roles.overlay, roles.bridge);
        let mut topology = Self {
            tables,
            intent,
            traffic,
            overlay: roles.overlay.as_ref().and_then(link),
            bridge: roles.bridge.as_ref().and_then(link),
            uplinks: roles.uplinks.iter().filter_map(link).collect(),
            cluster_cidrs: cidrs::cluster(intent, &own_cidrs),
            own_cidrs,
            peers: Vec::new(),
        };
        topology.peers = peer::all(&topology);
        topology
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

    /// Whether the overlay device is up and has an address of the family of `cidr`, so that
    /// flannel could route this CIDR over it.
    #[must_use]
    pub fn overlay_serves(&self, cidr: IpNet) -> bool {
        self.overlay.is_some_and(|overlay| overlay.up)
            && self.overlay_addresses().any(|address| address.is_ipv4() == cidr.addr().is_ipv4())
    }

    /// The overlay device's own addresses, without link-local ones.
    pub fn overlay_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.tables
            .zip(self.overlay)
            .into_iter()
            .flat_map(|(tables, overlay)| cidrs::global_addresses(tables, overlay.index))
            .map(|address| address.address)
    }

    /// Unicast routes that leave by the overlay device, in all tables but the local one.
    pub fn overlay_routes(&self) -> impl Iterator<Item = &'a Route> {
        self.tables.zip(self.overlay).into_iter().flat_map(|(tables, overlay)| {
            tables.routes.iter().filter(|route| {
                route.kind == RouteKind::Unicast
                    && route.table != TABLE_LOCAL
                    && leaves_by(route, overlay.index)
            })
        })
    }

    /// Neighbour entries of the overlay device with which the kernel sends, and which may belong
    /// to a peer: no link-local, no multicast ones.
    pub fn overlay_neighbours(&self) -> impl Iterator<Item = &'a Neighbour> {
        self.tables.zip(self.overlay).into_iter().flat_map(|(tables, overlay)| {
            tables.neighbours.iter().filter(move |entry| {
                entry.ifindex == overlay.index
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

/// Whether a next hop of `route` is device `index`.
#[must_use]
pub fn leaves_by(route: &Route, index: u32) -> bool {
    route.next_hops.iter().any(|hop| hop.ifindex == Some(index))
}
