//! One peer: everything that tables, intent and traffic say about it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Topology, candidates, index::Index, leaves_by};
use crate::evidence::{
    Family, FdbEntry, Link, MacAddress, Neighbour, NeighbourState, Origin, PeerIntent, PeerTraffic,
    Route, RouteKind, RouteOutcome, Stranger, Tables,
};

/// Another node of the cluster, by its pod CIDR.
#[derive(Debug, Clone)]
pub struct Peer<'a> {
    /// Its pod CIDR.
    pub cidr: IpNet,
    /// The address of its overlay device: the gateway of the route, unless that is another peer's;
    /// by default the CIDR's first.
    pub gateway: IpAddr,
    /// Its node address, where anything tells it; never one of this node's own.
    pub node_ip: Option<IpAddr>,
    /// The MAC of its overlay device: the intended one, else that of its neighbour entry when the
    /// FDB knows it, else that of its packets. A node that hands on what this peer sends puts its
    /// own MAC there: what is another peer's is not taken.
    pub vtep_mac: Option<MacAddress>,
    /// Its node name.
    pub name: Option<&'a str>,
    /// What a file or the API says about it.
    pub intent: Option<&'a PeerIntent>,
    /// The overlay device's neighbour entry for `gateway`, resolved or not.
    pub neighbour: Option<&'a Neighbour>,
    /// The overlay device's FDB entry for the neighbour's MAC, else for the intended one.
    pub fdb: Option<&'a FdbEntry>,
    /// The route to exactly this CIDR by the overlay device in table main.
    pub overlay_route: Option<&'a Route>,
    /// DirectRouting: the route to exactly this CIDR by a node address instead of the tunnel.
    pub direct: Option<&'a Route>,
    /// What the kernel answered for an address of this CIDR.
    pub answers: Answers<'a>,
    /// What shows that a node owns this CIDR now.
    pub life: Vec<LifeSign>,
    /// What the stages counted.
    pub traffic: Option<&'a PeerTraffic>,
}

/// The kernel's route answers for one CIDR.
#[derive(Debug, Default, Clone, Copy)]
pub struct Answers<'a> {
    /// For a packet of a local pod.
    pub pods: Option<&'a RouteOutcome>,
    /// For a packet of the node itself.
    pub node: Option<&'a RouteOutcome>,
}

/// A sign that a node owns a CIDR now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeSign {
    /// A resolved neighbour entry of the overlay device.
    Neighbour,
    /// An FDB entry for its MAC.
    Fdb,
    /// VXLAN received from it in the window.
    Vxlan,
    /// A peers file or the API names it.
    Intent,
}

impl<'a> Peer<'a> {
    /// Whether a node owns this CIDR now, by any sign.
    #[must_use]
    pub fn lives(&self) -> bool {
        !self.life.is_empty()
    }

    /// Whether this sign of life is there.
    #[must_use]
    pub fn has(&self, sign: LifeSign) -> bool {
        self.life.contains(&sign)
    }

    /// Whether anything but a stray route speaks of this peer.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.lives() || self.overlay_route.is_some() || self.direct.is_some()
    }

    /// The neighbour entry when the kernel sends with it, and its MAC.
    #[must_use]
    pub fn resolved(&self) -> Option<(&'a Neighbour, MacAddress)> {
        let neighbour = self.neighbour.filter(|entry| is_resolved(entry))?;
        Some((neighbour, neighbour.mac?))
    }

    /// Its node address, and the device by which the kernel would send to it: of several the smallest.
    #[must_use]
    pub fn way<'t>(&self, tables: &'t Tables) -> Option<(IpAddr, &'t Link)> {
        let node_ip = self.node_ip?;
        let answer = tables
            .answers
            .iter()
            .find(|answer| answer.origin == Origin::Node && answer.destination == node_ip)?;
        let RouteOutcome::Route(route) = &answer.outcome else { return None };
        let links = route.next_hops.iter().filter_map(|hop| tables.link(hop.ifindex?));
        // What leads back into the tunnel leads nowhere.
        let is_overlay =
            |link: &&Link| self.overlay_route.is_some_and(|it| leaves_by(it, link.index));
        let links = links.filter(|link| link.name != "lo" && !is_overlay(link));
        let link = links.min_by_key(|link| link.mtu_of(Family::of(node_ip)))?;
        Some((node_ip, link))
    }

    /// The largest packet that fits into the device towards its node once it is encapsulated, bytes.
    #[must_use]
    pub fn room(&self, tables: &Tables) -> Option<u32> {
        let (node_ip, link) = self.way(tables)?;
        let family = Family::of(node_ip);
        Some(link.mtu_of(family).saturating_sub(family.tunnel_overhead()))
    }

    /// The words for this peer, `10.244.3.0/24 (n1, 192.168.1.223)`.
    #[must_use]
    pub fn label(&self) -> String {
        let known = [self.name.map(str::to_owned), self.node_ip.map(|ip| ip.to_string())];
        let known: Vec<String> = known.into_iter().flatten().collect();
        if known.is_empty() {
            self.cidr.to_string()
        } else {
            format!("{} ({})", self.cidr, known.join(", "))
        }
    }

    /// The shortest words for this peer: its name, else its node address, else its CIDR.
    #[must_use]
    pub fn short_name(&self) -> String {
        let by_ip = || self.node_ip.map(|ip| ip.to_string());
        self.name.map(str::to_owned).or_else(by_ip).unwrap_or_else(|| self.cidr.to_string())
    }
}

impl<'a> Answers<'a> {
    /// The answers that there are, the pods' first.
    pub fn iter(&self) -> impl Iterator<Item = &'a RouteOutcome> + use<'a> {
        self.pods.into_iter().chain(self.node)
    }
}

/// All peers of a topology whose other fields are filled.
pub(super) fn all<'a>(topology: &Topology<'a>) -> Vec<Peer<'a>> {
    let index = Index::of(topology);
    let cidrs = candidates::peer_cidrs(topology);
    cidrs.iter().map(|cidr| build(topology, &index, *cidr, &cidrs)).collect()
}

/// Whether the kernel can send with this neighbour entry.
#[must_use]
pub fn is_resolved(entry: &Neighbour) -> bool {
    entry.mac.is_some() && entry.state.is_valid() && entry.state != NeighbourState::NoArp
}

/// Whether a route of this kind refuses packets.
#[must_use]
pub const fn refuses(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit)
}

fn build<'a>(topology: &Topology<'a>, index: &Index<'a>, cidr: IpNet, all: &[IpNet]) -> Peer<'a> {
    let intent = index.intent(cidr);
    let overlay_route = index.overlay_route(cidr);
    // No CIDR lies within another: a gateway of its own is in no other.
    let is_its_own = |gateway: &IpAddr| {
        cidr.contains(gateway) || !all.iter().any(|other| other.contains(gateway))
    };
    let gateway = overlay_route
        .and_then(|route| route.next_hops.iter().find_map(|hop| hop.gateway))
        .filter(is_its_own)
        .unwrap_or_else(|| cidr.network());
    let neighbour = index.neighbour(gateway);
    let mac = neighbour.filter(|entry| is_resolved(entry)).and_then(|entry| entry.mac);
    let intended_mac = intent.and_then(|peer| peer.vtep_mac);
    let fdb = mac.or(intended_mac).and_then(|mac| index.fdb(mac));
    let traffic = index.traffic(cidr);
    let is_no_others = |seen: &MacAddress| Some(*seen) == mac || !index.is_given(*seen);
    let seen_mac = traffic.and_then(|traffic| traffic.inner_source_mac).filter(is_no_others);
    let stranger = stranger(topology, cidr);
    let written_ip = fdb.and_then(|entry| entry.destination);
    let is_own = |ip: &IpAddr| topology.tables.is_some_and(|tables| tables.is_local(*ip));
    let known_ip = intent.map(|peer| peer.node_ip).or_else(|| written_ip.filter(|ip| !is_own(ip)));
    let direct = direct_route(topology, index, cidr, known_ip);
    let received_from = traffic
        .and_then(|traffic| traffic.outer_source)
        .or_else(|| stranger.map(|stranger| stranger.outer_source));
    Peer {
        cidr,
        gateway,
        node_ip: known_ip
            .or_else(|| direct?.next_hops.iter().find_map(|hop| hop.gateway))
            .or(received_from),
        vtep_mac: intended_mac.or(mac.filter(|_| fdb.is_some())).or(seen_mac).or(mac),
        name: intent.and_then(|peer| peer.name.as_deref()),
        intent,
        neighbour,
        fdb,
        overlay_route,
        direct,
        answers: Answers {
            pods: index.answer(cidr, Origin::Pods),
            node: index.answer(cidr, Origin::Node),
        },
        life: signs_of_life(mac, fdb, traffic, stranger, intent),
        traffic,
    }
}

fn signs_of_life(
    mac: Option<MacAddress>,
    fdb: Option<&FdbEntry>,
    traffic: Option<&PeerTraffic>,
    stranger: Option<&Stranger>,
    intent: Option<&PeerIntent>,
) -> Vec<LifeSign> {
    let received = traffic
        .is_some_and(|traffic| traffic.packets.wire_in > 0 || traffic.packets.overlay_in > 0);
    [
        (mac.is_some(), LifeSign::Neighbour),
        (fdb.is_some(), LifeSign::Fdb),
        (received || stranger.is_some(), LifeSign::Vxlan),
        (intent.is_some(), LifeSign::Intent),
    ]
    .into_iter()
    .filter_map(|(seen, sign)| seen.then_some(sign))
    .collect()
}

/// A route by a device that is neither overlay nor bridge, to the peer's node address; where
/// that is unknown, to an address outside the pod network.
fn direct_route<'a>(
    topology: &Topology<'a>,
    index: &Index<'a>,
    cidr: IpNet,
    node_ip: Option<IpAddr>,
) -> Option<&'a Route> {
    let in_pod_network =
        |address: &IpAddr| topology.cluster_cidrs.iter().any(|network| network.contains(address));
    let is_node = |gateway: IpAddr| match node_ip {
        Some(node_ip) => gateway == node_ip,
        None => !in_pod_network(&gateway),
    };
    let inside = [topology.overlay, topology.bridge];
    index.unicast_routes(cidr).find(|route| {
        !inside.iter().flatten().any(|link| leaves_by(route, link.index))
            && route.next_hops.iter().filter_map(|hop| hop.gateway).any(is_node)
    })
}

fn stranger<'a>(topology: &Topology<'a>, cidr: IpNet) -> Option<&'a Stranger> {
    topology.traffic?.strangers.iter().find(|it| cidr.contains(&it.inner_source))
}
