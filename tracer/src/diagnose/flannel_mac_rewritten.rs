//! `flannel-mac-rewritten`: somebody gave flannel's VXLAN device another MAC.
//!
//! The kernel then removes the device's neighbour entries, permanent ones too (net/ipv4/arp.c,
//! `arp_netdev_event`, Linux 6.18), and leaves routes and FDB. The peers go on sending to the old
//! MAC: their frames are for another host now. The link-local address that was made of the old MAC
//! stays, and tells this from neighbour entries that were deleted; so do frames that come for a MAC
//! which no table knows.

use std::net::IpAddr;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, is_unknown_mac, lasting},
};
use crate::{
    evidence::{Link, MacAddress, NeighbourState, PeerIntent, Sight, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "flannel-mac-rewritten",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Table,
    judge,
};

/// Another MAC than the device has now, and what tells it.
struct Old {
    mac: MacAddress,
    told_by: String,
    /// Seconds since the device had it at the latest.
    age: Option<f64>,
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let lost: Vec<&Peer<'_>> = case.topology.peers.iter().filter(|it| has_lost_mac(it)).collect();
    let is_full = case.topology.overlay_fdb().count() >= lost.len();
    if lost.is_empty() || !is_full || has_neighbours(case) {
        return Ruling::default();
    }
    let changed = overlay.mac.and_then(|now| Some((now, old_mac(case, tables, overlay, now)?)));
    Ruling::from(changed.map(|(now, old)| judged(case, overlay, now, &old, &lost)))
}

/// The route to the peer is there, its gateway has no MAC.
fn has_lost_mac(peer: &Peer<'_>) -> bool {
    let by_gateway = |peer: &Peer<'_>| {
        let mut hops = peer.overlay_route.into_iter().flat_map(|route| &route.next_hops);
        hops.any(|hop| hop.gateway == Some(peer.gateway))
    };
    by_gateway(peer) && !peer.neighbour.is_some_and(|entry| entry.state.is_valid())
}

fn has_neighbours(case: &Case<'_>) -> bool {
    case.topology.overlay_neighbours().any(|entry| entry.state == NeighbourState::Permanent)
}

/// A file that names this node too knows the MAC that flannel announced; else the link-local
/// address tells the MAC that the device had when it came up.
fn old_mac(case: &Case<'_>, tables: &Tables, overlay: &Link, now: MacAddress) -> Option<Old> {
    let is_own = |intent: &&PeerIntent| case.topology.own_cidrs.contains(&intent.pod_cidr.trunc());
    let mut intended = case.evidence.intent.peers.iter().filter(is_own);
    if let Some((intent, mac)) = intended.find_map(|intent| Some((intent, intent.vtep_mac?))) {
        let told_by = format!("{} names {mac} for this node", intent.source);
        return (mac != now).then_some(Old { mac, told_by, age: None });
    }
    let made_of = |address: IpAddr| match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => MacAddress::of_eui64(address),
        _ => None,
    };
    let made: Vec<Old> = tables
        .addresses_of(overlay.index)
        .filter_map(|it| Some((it, made_of(it.address)?)))
        .map(|(it, mac)| Old {
            mac,
            told_by: format!("its link-local address {} was made of {mac}", it.address),
            age: it.created_age,
        })
        .collect();
    let is_now = made.iter().any(|old| old.mac == now);
    made.into_iter().next().filter(|_| !is_now).or_else(|| asked_for(case))
}

/// The MAC that frames of peers are for, and that no table has.
fn asked_for(case: &Case<'_>) -> Option<Old> {
    let found = lasting(case, ENOUGH, |sighting| match sighting.what {
        Sight::OtherMac { destination, address, .. } => {
            let is_meant = case.topology.peer_of(address).is_some();
            (is_meant && is_unknown_mac(case, destination)).then_some(destination)
        }
        _ => None,
    });
    let (mac, seen) = found.into_iter().max_by_key(|(_, seen)| seen.packets)?;
    let told_by = format!("{} frames of peers came for {mac} in the window", seen.packets);
    Some(Old { mac, told_by, age: None })
}

fn judged(
    case: &Case<'_>,
    overlay: &Link,
    now: MacAddress,
    old: &Old,
    lost: &[&Peer<'_>],
) -> Judged {
    let name = &overlay.name;
    let fdb = case.topology.overlay_fdb().count();
    Judged {
        finding: RULE.finding(
            format!("The MAC of {name} was changed from {} to {now}", old.mac),
            case.about_interface(name),
            case.after_age(old.age),
            vec![
                format!("{name} has the MAC {now}; {}", old.told_by),
                format!(
                    "{name} has {} routes to peers and {fdb} FDB entries, but no neighbour entry: \
                     the kernel removes them with the MAC",
                    lost.len()
                ),
            ],
            repair(case),
        ),
        rank: RULE.rank,
        supports: lost.iter().map(|peer| Effect::NoNeighbour(peer.cidr)).collect(),
        explains: lost.iter().flat_map(|peer| explains(peer)).collect(),
        as_break: format!("MAC of {name}"),
    }
}

/// Nothing goes out without neighbour entries, and what comes in is for another host.
fn explains(peer: &Peer<'_>) -> impl Iterator<Item = Effect> + use<> {
    let cidr = peer.cidr;
    let losses = StagePair::LOCAL.into_iter().map(move |pair| Effect::Loss(cidr, pair));
    losses.chain([Effect::NoNeighbour(cidr), Effect::Silence(cidr)])
}

fn repair(case: &Case<'_>) -> Vec<String> {
    let mut lines = remedy::restart_flannel(case.evidence);
    lines.push(
        "(before that keep others off: a systemd .link file with OriginalName=flannel* and \
         MACAddressPolicy=none, or unmanaged-devices=interface-name:flannel* in NetworkManager)"
            .to_owned(),
    );
    lines
}
