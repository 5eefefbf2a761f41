//! `uplink-down`: a device by which peers are reached is down, or has no carrier.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    underlay::answer,
};
use crate::{
    evidence::{Family, Link, RouteOutcome, Tables},
    topology::{Peer, leaves_by},
};

pub(super) const RULE: Rule = Rule {
    code: "uplink-down",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let dead = case.topology.uplinks.iter().filter(|link| !link.up || !link.lower_up);
    let judged = dead.filter_map(|link| {
        let peers = case.topology.peers.iter().filter(|peer| peer.is_known());
        let cut_off: Vec<&Peer<'_>> =
            peers.filter(|peer| is_behind(case, tables, link, peer)).collect();
        (!cut_off.is_empty()).then(|| judged(case, link, &cut_off))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// The peer's node is reached by this device: it lies in its network, the kernel sends there by it
/// still, or has no route left at all. A device that no peer is behind may be down.
fn is_behind(case: &Case<'_>, tables: &Tables, link: &Link, peer: &Peer<'_>) -> bool {
    let Some(node) = peer.node_ip else {
        return case.topology.uplinks.iter().all(|uplink| !uplink.up || !uplink.lower_up);
    };
    let is_on_link = tables.addresses_of(link.index).any(|address| {
        let network = IpNet::new(address.address, address.prefix_length);
        network.is_ok_and(|network| network.contains(&node))
    });
    // Set down, it has lost its IPv6 addresses.
    let is_below = || {
        let vxlan = case.topology.overlay.and_then(|overlay| overlay.vxlan.as_ref());
        !link.up && vxlan.is_some_and(|vxlan| vxlan.link == Some(link.index))
    };
    is_on_link
        || is_below()
        || answer(tables, node).is_none_or(|outcome| match outcome {
            RouteOutcome::Route(route) => leaves_by(route, link.index),
            RouteOutcome::Refused(_) => true,
        })
}

fn judged(case: &Case<'_>, link: &Link, cut_off: &[&Peer<'_>]) -> Judged {
    let name = &link.name;
    let (state, flag) = if link.up {
        ("has no carrier", "IFF_UP is set and IFF_LOWER_UP is clear")
    } else {
        ("is administratively down", "IFF_UP is clear")
    };
    let of_both = |family| [Effect::NoDefaultRoute(family), Effect::NoSourceAddress(family)];
    let mut explains: BTreeSet<Effect> = Family::ALL.into_iter().flat_map(of_both).collect();
    explains.extend(cut_off.iter().flat_map(|peer| Effect::beyond_overlay(peer.cidr)));
    let overlay = case.overlay_name();
    Judged {
        finding: RULE.finding(
            format!("The uplink {name} {state}: {} cannot be reached", count(cut_off.len())),
            case.about_interface(name),
            case.before_start(),
            vec![
                format!("{name} exists, and its flag {flag}"),
                format!("{} behind it; {overlay} is up all the same", count(cut_off.len())),
            ],
            repair(link),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: format!("uplink {name}"),
    }
}

fn count(peers: usize) -> String {
    if peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") }
}

fn repair(link: &Link) -> Vec<String> {
    let name = &link.name;
    if !link.up {
        return vec![
            format!("ip link set {name} up"),
            "(the kernel removed its routes, the default route too, and its IPv6 addresses: have \
             the network configuration applied again)"
                .to_owned(),
        ];
    }
    if link.layer3 {
        return vec![format!("(restart the VPN's daemon, which does not hold {name} any more)")];
    }
    vec![
        format!("ethtool {name}      (what it says of the link)"),
        "(check cable and switch port, or the virtual machine's network card)".to_owned(),
    ]
}
