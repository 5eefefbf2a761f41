//! `default-route-missing`: the node has no way to addresses outside the cluster, while the device
//! that leads there is up.
//!
//! Pods still reach each other. A device that is down or gone took its routes with it, and that is
//! the fault then. Beside IPv4 a cluster may well have IPv6 for itself alone.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    case::{Case, is_link_local},
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Family, Link, Origin, Platform, RouteAnswer, RouteOutcome, Tables};

pub(super) const RULE: Rule = Rule {
    code: "default-route-missing",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Inferred,
    judge,
};

/// The kernel's "network is unreachable".
const ENETUNREACH: i32 = 101;

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let outside = case.topology.outside();
    let answers: Vec<&RouteAnswer> =
        tables.answers.iter().filter(|answer| outside.contains(&answer.destination)).collect();
    if !is_cut_off(&answers) || !case.topology.uplinks.iter().any(|uplink| works(uplink)) {
        return Ruling::default();
    }
    if case.is_dual_stack && case.topology.family == Family::V6 {
        let line = format!(
            "whether pods are to reach IPv6 addresses outside the cluster: {} has no IPv6 default \
             route (`ip -6 route show default`)",
            case.evidence.node.name
        );
        return Ruling { judged: Vec::new(), unseen: vec![line] };
    }
    Ruling::from(device(case, tables).map(|device| judged(case, tables, device, outside[0])))
}

/// The node has no route for any of the addresses, and no pod's packet has one of its own.
fn is_cut_off(answers: &[&RouteAnswer]) -> bool {
    let mut of_node = answers.iter().filter(|answer| answer.origin == Origin::Node).peekable();
    let passes = |answer: &&RouteAnswer| matches!(answer.outcome, RouteOutcome::Route(_));
    of_node.peek().is_some()
        && of_node.all(|answer| answer.outcome == RouteOutcome::Refused(ENETUNREACH))
        && !answers.iter().any(passes)
}

const fn works(link: &Link) -> bool {
    link.up && link.lower_up
}

/// The device by which the default route led, as far as can be told: a working uplink, but rather
/// another device with an address than the tunnel of a VPN.
fn device<'a>(case: &Case<'a>, tables: &'a Tables) -> Option<&'a Link> {
    let uplinks = || case.topology.uplinks.iter().copied().filter(|link| works(link));
    let is_inside = |link: &&Link| {
        [case.topology.overlay, case.topology.bridge].iter().flatten().any(|it| it == link)
    };
    let others = tables
        .links
        .iter()
        .filter(|link| works(link) && link.name != "lo" && !is_inside(link))
        .filter(|link| network_of(tables, link, case.topology.outside()[0]).is_some());
    let mut wired = uplinks().chain(others).filter(|link| !link.layer3 && link.master.is_none());
    wired.next().or_else(|| uplinks().next())
}

/// The network of a device in the family of `like`; every device has a link-local one.
fn network_of(tables: &Tables, link: &Link, like: IpAddr) -> Option<IpNet> {
    let mut addresses = tables.addresses_of(link.index);
    let address = addresses
        .find(|it| Family::of(it.address) == Family::of(like) && !is_link_local(it.address))?;
    Some(IpNet::new(address.address, address.prefix_length).ok()?.trunc())
}

fn judged(case: &Case<'_>, tables: &Tables, device: &Link, outside: IpAddr) -> Judged {
    let node = &case.evidence.node.name;
    Judged {
        finding: RULE.finding(
            format!("{node} has no default route: nothing outside the cluster is reachable"),
            case.about_interface(&device.name),
            case.before_start(),
            vec![
                format!(
                    "asked for a packet to {outside}, the kernel {}",
                    case.describe(&RouteOutcome::Refused(ENETUNREACH))
                ),
                format!("{} is up and has no default route", device.name),
            ],
            repair(case, device, network_of(tables, device, outside)),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoDefaultRoute(case.topology.family)]),
        explains: BTreeSet::from([Effect::NoDefaultRoute(case.topology.family)]),
        as_break: "addresses outside the cluster".to_owned(),
    }
}

fn repair(case: &Case<'_>, device: &Link, network: Option<IpNet>) -> Vec<String> {
    let name = &device.name;
    let at_start = "(without --iface flannel, and k3s, choose their interface by this route: they \
                    may not start again)";
    if case.evidence.node.platform == Platform::Talos {
        let node = case.node_ip().map_or_else(|| "NODE".to_owned(), |ip| ip.to_string());
        let edit = format!("talosctl -n {node} edit machineconfig      (the routes of {name})");
        return vec![edit, at_start.to_owned()];
    }
    let ip = remedy::ip(case.topology.family);
    let router = network.map_or_else(String::new, |network| format!(" of {network}"));
    vec![
        format!("{ip} route add default via ROUTER dev {name}      (ROUTER: the gateway{router})"),
        format!("(and in what configures {name}: systemd-networkd, NetworkManager or its DHCP)"),
        at_start.to_owned(),
    ]
}
