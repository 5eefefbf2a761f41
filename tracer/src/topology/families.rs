//! The IP versions that flannel serves on a node, and the topology of each.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Peer, Question, Topology, cidrs, overlay};
use crate::evidence::{Evidence, Family, Intent, Link, Roles, Tables, Traffic};

/// What the names of flannel's chains in the IPv6 tables begin with, as
/// [`Intent::flannel_netfilter`] has them, and that of its nft table there. The table is no sign:
/// flannel makes it on IPv4-only nodes too.
const IPV6_CHAIN: &str = "ip6 chain ";
const IPV6_TABLE: &str = "nft table ip6 ";

/// The topologies of a node, IPv4 first: one for each IP version that flannel serves there, and
/// one when nothing tells which.
#[derive(Debug, Clone)]
pub struct Topologies<'a>(Vec<Topology<'a>>);

impl<'a> Topologies<'a> {
    /// The topologies that evidence shows.
    #[must_use]
    pub fn of(evidence: &'a Evidence) -> Self {
        Self::from_parts(
            evidence.tables.as_ref(),
            &evidence.intent,
            &evidence.roles,
            evidence.traffic.as_ref(),
        )
    }

    /// The topologies that these parts show; collectors have no traffic yet.
    #[must_use]
    pub fn from_parts(
        tables: Option<&'a Tables>,
        intent: &'a Intent,
        roles: &Roles,
        traffic: Option<&'a Traffic>,
    ) -> Self {
        let of = |family| Topology::from_parts(family, tables, intent, roles, traffic);
        Self(served(tables, intent, roles).into_iter().map(of).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Topology<'a>> {
        self.0.iter()
    }

    /// That of an address's IP version; where flannel does not serve it the first, which knows
    /// nothing of the address.
    #[must_use]
    pub fn for_address(&self, address: IpAddr) -> &Topology<'a> {
        let family = Family::of(address);
        self.0.iter().find(|topology| topology.family == family).unwrap_or(&self.0[0])
    }

    /// flannel's VXLAN device for an IP version.
    #[must_use]
    pub fn overlay(&self, family: Family) -> Option<&'a Link> {
        self.0.iter().find(|topology| topology.family == family)?.overlay
    }

    /// flannel's VXLAN devices.
    pub fn overlays(&self) -> impl Iterator<Item = &'a Link> {
        self.0.iter().filter_map(|topology| topology.overlay)
    }

    /// The bridge of the pods, which all IP versions share.
    #[must_use]
    pub fn bridge(&self) -> Option<&'a Link> {
        self.0[0].bridge
    }

    /// The devices towards the peers, which all IP versions share.
    #[must_use]
    pub fn uplinks(&self) -> &[&'a Link] {
        &self.0[0].uplinks
    }

    /// Pod CIDRs of this node.
    #[must_use]
    pub fn own_cidrs(&self) -> Vec<IpNet> {
        self.0.iter().flat_map(|topology| topology.own_cidrs.clone()).collect()
    }

    /// The peers of all IP versions: a node with pods of both is two.
    pub fn peers(&self) -> impl Iterator<Item = &Peer<'a>> {
        self.0.iter().flat_map(|topology| &topology.peers)
    }

    /// The peer that owns `cidr`.
    #[must_use]
    pub fn peer(&self, cidr: IpNet) -> Option<&Peer<'a>> {
        self.peers().find(|peer| peer.cidr == cidr)
    }

    /// The routes to ask the kernel for: one address of each peer's CIDR and addresses outside,
    /// from the pods and from the node, and each peer's node address. With traffic also for the
    /// peers that only packets told of.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.0.iter().flat_map(Topology::questions).collect()
    }
}

impl<'a> IntoIterator for Topologies<'a> {
    type Item = Topology<'a>;
    type IntoIter = std::vec::IntoIter<Topology<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The bridge of pods that have IPv6 addresses, where flannel's nft table for IPv6 is all that speaks
/// of a tunnel for them: flannel makes that table where it serves IPv4 alone too, so its device for
/// IPv6 may be missing, or never have been.
#[must_use]
pub fn undecided_ipv6(evidence: &Evidence) -> Option<&Link> {
    let (tables, intent, roles) = (evidence.tables.as_ref(), &evidence.intent, &evidence.roles);
    let is_told = intent.subnet_env.as_ref().is_some_and(|env| !env.subnets.is_empty());
    let has_table = intent.flannel_netfilter.iter().any(|sign| sign.starts_with(IPV6_TABLE));
    let is_served = || served(tables, intent, roles).contains(&Family::V6);
    if is_told || !has_table || !has_pods(tables, roles, Family::V6) || is_served() {
        return None;
    }
    tables?.link(roles.bridge?)
}

/// The IP versions that flannel serves: those that subnet.env names; without it those of its
/// devices in use, of the peers that are named, and those of which pods have addresses and flannel
/// has rules. IPv4 when nothing tells.
fn served(tables: Option<&Tables>, intent: &Intent, roles: &Roles) -> Vec<Family> {
    let env = intent.subnet_env.as_ref().map_or(&[][..], |env| &env.subnets);
    let is_served = |family: &Family| {
        if !env.is_empty() {
            return cidrs::of_family(env, *family).next().is_some();
        }
        let is_named = intent.peers.iter().any(|peer| Family::of_net(peer.pod_cidr) == *family);
        is_sign(tables, intent, roles, *family)
            || is_named
            || (has_pods(tables, roles, *family) && has_rules(intent, *family))
    };
    let served: Vec<Family> = Family::ALL.into_iter().filter(is_served).collect();
    if served.is_empty() { vec![Family::V4] } else { served }
}

/// Whether flannel's device for an IP version shows that flannel serves it: but for one that was left
/// over, which leads nowhere, beside one of the other IP version that is in use.
fn is_sign(tables: Option<&Tables>, intent: &Intent, roles: &Roles, family: Family) -> bool {
    let leads = |index: u32| tables.is_none_or(|tables| overlay::leads_anywhere(tables, index));
    let other = Family::ALL.into_iter().filter(|other| *other != family);
    roles.overlay_of(family).is_some_and(|own| {
        leads(own)
            || intent.overlay_option.is_some()
            || has_pods(tables, roles, family)
            || !other.filter_map(|other| roles.overlay_of(other)).any(leads)
    })
}

fn has_pods(tables: Option<&Tables>, roles: &Roles, family: Family) -> bool {
    tables.zip(roles.bridge).is_some_and(|(tables, bridge)| {
        cidrs::global_addresses(tables, bridge).any(|it| Family::of(it.address) == family)
    })
}

fn has_rules(intent: &Intent, family: Family) -> bool {
    let is_of_family = |sign: &String| match family {
        Family::V4 => !sign.starts_with(IPV6_CHAIN) && !sign.starts_with(IPV6_TABLE),
        Family::V6 => sign.starts_with(IPV6_CHAIN),
    };
    intent.flannel_netfilter.iter().any(is_of_family)
}
