//! Who is who among several nodes: told apart by pod CIDR and node address, never by name.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use crate::{
    evidence::{Evidence, MacAddress, PeerIntent, Window},
    topology::{Topologies, Topology, signs_of_flannel},
};

/// How far apart two windows may lie for what one shows to hold in the other: an operator goes from
/// node to node, but entries change in time.
const NEAR: SignedDuration = SignedDuration::from_mins(10);

/// The same node, given twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the evidence of {0} was given twice (as number {1} and {2}): give --from once for each node, \
     with evidence of about the same time"
)]
pub struct SameNode(String, usize, usize);

/// One of the nodes.
#[derive(Debug)]
pub(super) struct Member {
    /// Its stable name among the others.
    pub(super) key: String,
    /// The words for it.
    pub(super) label: String,
    /// Its name, which another may have too.
    pub(super) name: String,
    /// Its side of the tunnel, for each IP version.
    pub(super) ends: Vec<End>,
    /// Its addresses that other machines can know, each with its network.
    pub(super) addresses: Vec<IpNet>,
    /// flannel runs or ran there.
    pub(super) has_flannel: bool,
    /// When it was looked at.
    pub(super) window: (Timestamp, Timestamp),
    /// Nodes of the same number know each other, by way of others too.
    pub(super) cluster: usize,
}

/// A node's side of the tunnel of one IP version.
#[derive(Debug)]
pub(super) struct End {
    /// Its pod CIDRs.
    pub(super) cidrs: Vec<IpNet>,
    /// The address of the tunnel, if the node has it.
    pub(super) node_ip: Option<IpAddr>,
    /// The MAC of the overlay device.
    pub(super) vtep_mac: Option<MacAddress>,
}

/// The nodes of which this is the evidence.
pub(super) fn members(evidence: &[Evidence]) -> Result<Vec<Member>, SameNode> {
    let mut members: Vec<Member> = evidence.iter().map(Member::of).collect();
    for (later, member) in members.iter().enumerate() {
        if let Some(first) = members[..later].iter().position(|it| it.is_same_as(member)) {
            return Err(SameNode(member.label.clone(), first + 1, later + 1));
        }
    }
    let knows = |one: usize, other: usize| knows(&evidence[one], &members[one], &members[other]);
    let clusters = clusters(members.len(), knows);
    for (member, cluster) in members.iter_mut().zip(clusters) {
        member.cluster = cluster;
    }
    Ok(members)
}

/// The member that alone has this pod CIDR.
pub(super) fn owner_of(members: &[Member], cidr: IpNet) -> Option<usize> {
    let mut owners = (0..members.len()).filter(|index| members[*index].owns(cidr));
    owners.next().filter(|_| owners.next().is_none())
}

// === impl Member ===

impl Member {
    fn of(evidence: &Evidence) -> Self {
        let topologies = Topologies::of(evidence);
        let ends: Vec<End> = topologies.iter().map(End::of).collect();
        let cidr = ends.iter().find_map(|end| end.cidrs.first()).map(ToString::to_string);
        let ip = ends.iter().find_map(|end| end.node_ip).map(|ip| ip.to_string());
        let name = &evidence.node.name;
        let known_by = ip.clone().or_else(|| cidr.clone());
        Self {
            key: cidr.or(ip).unwrap_or_else(|| name.clone()),
            label: known_by.map_or_else(|| name.clone(), |known| format!("{name} ({known})")),
            name: name.clone(),
            ends,
            addresses: addresses(evidence),
            has_flannel: has_flannel(evidence),
            window: span(evidence.window),
            cluster: 0,
        }
    }

    pub(super) fn owns(&self, cidr: IpNet) -> bool {
        self.ends.iter().any(|end| end.cidrs.contains(&cidr))
    }

    /// Whether it has this address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.addr() == address)
    }

    /// Whether this address may be one of its own networks.
    pub(super) fn is_beside(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.contains(&address))
    }

    /// Whether the other was looked at when this one was, or soon before or after.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        let gap = |earlier: &Self, later: &Self| later.window.0.duration_since(earlier.window.1);
        gap(self, other) <= NEAR && gap(other, self) <= NEAR
    }

    /// Of the same cluster, and of about the same time.
    pub(super) fn can_be_held_against(&self, other: &Self) -> bool {
        self.cluster == other.cluster && self.is_near(other)
    }

    fn is_same_as(&self, other: &Self) -> bool {
        let cidrs = || self.ends.iter().flat_map(|end| &end.cidrs);
        if cidrs().next().is_none() {
            let has_none = other.ends.iter().all(|end| end.cidrs.is_empty());
            return has_none && !self.addresses.is_empty() && self.addresses == other.addresses;
        }
        let ips = |member: &Self| -> BTreeSet<IpAddr> {
            member.ends.iter().filter_map(|end| end.node_ip).collect()
        };
        let (own, others) = (ips(self), ips(other));
        let is_elsewhere = !own.is_empty() && !others.is_empty() && own.is_disjoint(&others);
        cidrs().any(|cidr| other.owns(*cidr)) && !is_elsewhere
    }
}

// === impl End ===

impl End {
    fn of(topology: &Topology<'_>) -> Self {
        let local = topology.overlay.and_then(|link| link.vxlan.as_ref()?.local);
        let has = |ip: &IpAddr| topology.tables.is_some_and(|tables| tables.is_local(*ip));
        Self {
            cidrs: topology.own_cidrs.clone(),
            node_ip: local.filter(has),
            vtep_mac: topology.overlay.and_then(|link| link.mac),
        }
    }
}

/// Not those of the pods' devices, which are none for other machines, nor those that every machine
/// has.
fn addresses(evidence: &Evidence) -> Vec<IpNet> {
    let inner: BTreeSet<u32> = evidence.roles.overlays().chain(evidence.roles.bridge).collect();
    let tables = evidence.tables.iter().flat_map(|tables| &tables.addresses);
    let outer = tables.filter(|it| !inner.contains(&it.ifindex) && is_global(it.address));
    outer.filter_map(|it| IpNet::new(it.address, it.prefix_length).ok()).collect()
}

fn is_global(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_link_local && !address.is_loopback() && !address.is_multicast()
}

fn has_flannel(evidence: &Evidence) -> bool {
    let by_signs = |tables| !signs_of_flannel(tables, &evidence.intent).is_empty();
    evidence.roles.overlays().next().is_some() || evidence.tables.as_ref().is_some_and(by_signs)
}

fn span(window: Window) -> (Timestamp, Timestamp) {
    let length = SignedDuration::try_from_secs_f64(window.seconds).unwrap_or_default();
    (window.start, window.start.checked_add(length).unwrap_or(window.start))
}

/// Whether a node's tables, packets or peers file name an address of the other, or the MAC of its
/// overlay device. That both have pods in the same network says little: most clusters have.
fn knows(evidence: &Evidence, member: &Member, other: &Member) -> bool {
    let is_its = |address: IpAddr| other.has(address) && !member.has(address);
    let has_mac = |mac: MacAddress| other.ends.iter().any(|end| end.vtep_mac == Some(mac));
    let topologies = Topologies::of(evidence);
    let by_entries = topologies
        .iter()
        .flat_map(Topology::overlay_fdb)
        .any(|entry| entry.destination.is_some_and(is_its) || has_mac(entry.mac));
    let traffic = evidence.traffic.iter();
    let mut senders = traffic.flat_map(|it| {
        let peers = it.peers.iter().filter_map(|peer| peer.outer_source);
        peers.chain(it.strangers.iter().map(|stranger| stranger.outer_source))
    });
    let named = |it: &PeerIntent| is_its(it.node_ip) && other.owns(it.pod_cidr);
    by_entries || senders.any(is_its) || evidence.intent.peers.iter().any(named)
}

/// A number for each of `count` nodes; who knows another has the same number.
fn clusters(count: usize, knows: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut clusters: Vec<usize> = (0..count).collect();
    for one in 0..count {
        for other in (0..count).filter(|other| *other != one) {
            let (from, to) =
                (clusters[one].max(clusters[other]), clusters[one].min(clusters[other]));
            if from != to && knows(one, other) {
                clusters.iter_mut().filter(|it| **it == from).for_each(|it| *it = to);
            }
        }
    }
    clusters
}
