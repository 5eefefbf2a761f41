//! `flannel-link-flapped-state-lost`: flannel's VXLAN device went down and up; the kernel removed
//! its routes and neighbours, for IPv6 its address too, and flannel wrote none of them again.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::{Case, is_link_local},
    finding::{Confidence, Precision, Severity, Since},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{FdbEntry, Link, Tables},
    topology::LifeSign,
};

pub(super) const RULE: Rule = Rule {
    code: "flannel-link-flapped-state-lost",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Table,
    judge,
};

/// By how much, in seconds, the link-local address must be younger than every FDB entry: flannel
/// writes entries right after it creates the device, and both ages are read one after the other.
const MARGIN: f64 = 0.05;
/// By how much, in seconds, an address may look older than it is: the kernel stamps it in jiffies,
/// which start later at boot than the clock that its age is reckoned by (0.25 s was seen).
const CLOCK_SKEW: f64 = 1.0;
/// How many nodes a line names.
const SHOWN: usize = 5;

/// What proves the flap.
enum Proof {
    /// The link-local address was created this many seconds ago, after all FDB entries.
    Age(f64),
    /// A peer lives, but the tables hold nothing of it.
    LivingPeer,
}

/// What the ages say.
enum Ages {
    /// The link came up after the entries were written, this many seconds ago.
    Flapped(f64),
    /// It did not.
    Steady,
    /// There is no link-local address, ages are unknown, or they are too near to one another.
    Unknown,
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let entries: Vec<&FdbEntry> =
        case.topology.overlay_fdb().filter(|entry| entry.permanent).collect();
    if case.topology.overlay_neighbours().next().is_some() || case.has_overlay_routes() {
        return Ruling { judged: Vec::new(), unseen: Vec::from_iter(unclaimed(case, &entries)) };
    }
    if entries.is_empty() {
        return Ruling::default();
    }
    match ages(tables, overlay, &entries) {
        Ages::Flapped(age) => Ruling::from(vec![judged(case, overlay, &entries, Proof::Age(age))]),
        Ages::Steady => {
            Ruling { judged: Vec::new(), unseen: Vec::from_iter(unclaimed(case, &entries)) }
        }
        Ages::Unknown if a_peer_lives(case) => {
            Ruling::from(vec![judged(case, overlay, &entries, Proof::LivingPeer)])
        }
        Ages::Unknown => Ruling { judged: Vec::new(), unseen: vec![unsure(overlay, &entries)] },
    }
}

/// The kernel creates the link-local address anew when a link comes up, and leaves the FDB alone
/// (net/ipv6/addrconf.c, drivers/net/vxlan; Linux 6.18).
fn ages(tables: &Tables, overlay: &Link, entries: &[&FdbEntry]) -> Ages {
    let link_local = tables
        .addresses_of(overlay.index)
        .find(|address| is_link_local(address.address))
        .and_then(|address| address.created_age);
    let written: Option<Vec<f64>> = entries.iter().map(|entry| entry.updated_age).collect();
    let (Some(came_up), Some(written)) = (link_local, written) else { return Ages::Unknown };
    if written.iter().all(|age| *age > came_up + MARGIN) {
        Ages::Flapped(came_up)
    } else if written.iter().any(|age| *age < came_up - CLOCK_SKEW) {
        Ages::Steady
    } else {
        Ages::Unknown
    }
}

fn a_peer_lives(case: &Case<'_>) -> bool {
    let sure = [LifeSign::Intent, LifeSign::Vxlan];
    case.topology
        .peers
        .iter()
        .filter(|peer| peer.direct.is_none() && case.topology.overlay_serves())
        .any(|peer| peer.life.iter().any(|sign| sure.contains(sign)))
}

fn unsure(overlay: &Link, entries: &[&FdbEntry]) -> String {
    format!(
        "whether the {} FDB entries of {} are left from peers that are gone or the device lost its \
         routes and neighbours: no link-local address dates it; name the peers with --peers",
        entries.len(),
        overlay.name
    )
}

/// Nodes that FDB entries name, but neither a neighbour's entry nor any other sign of a peer. So
/// leaves a node that left, and so does a flap after which somebody repaired some of the peers.
fn unclaimed(case: &Case<'_>, entries: &[&FdbEntry]) -> Option<String> {
    let claimed: BTreeSet<IpAddr> = case
        .topology
        .overlay_neighbours()
        .flat_map(|neighbour| entries.iter().filter(|entry| Some(entry.mac) == neighbour.mac))
        .filter_map(|entry| entry.destination)
        .chain(case.topology.peers.iter().filter_map(|peer| peer.node_ip))
        .collect();
    let nodes = nodes_of(entries).into_iter().filter(|node| !claimed.contains(node));
    let nodes: Vec<IpAddr> = nodes.collect();
    (!nodes.is_empty()).then(|| {
        format!(
            "FDB entries for {} that no neighbour refers to: peers that left, or peers whose route \
             and neighbour are missing; name the peers with --peers",
            first_few(&nodes)
        )
    })
}

/// The nodes that these entries name, in order.
fn nodes_of(entries: &[&FdbEntry]) -> BTreeSet<IpAddr> {
    entries.iter().filter_map(|entry| entry.destination).collect()
}

fn first_few(nodes: &[IpAddr]) -> String {
    let shown: Vec<String> = nodes.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if nodes.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn judged(case: &Case<'_>, overlay: &Link, entries: &[&FdbEntry], proof: Proof) -> Judged {
    let name = &overlay.name;
    let mut explains = BTreeSet::from([Effect::StrayLeak(case.topology.family)]);
    explains.extend(case.topology.peers.iter().flat_map(|peer| Effect::everything_of(peer.cidr)));
    let note = "flannel does not restore routes and neighbours by itself; keep NetworkManager and \
                systemd-networkd off flannel*";
    Judged {
        finding: RULE.finding(
            format!("{name} went down and up and lost its routes and neighbours"),
            case.about_interface(name),
            since(case, entries, &proof),
            evidence(case, name, entries, &proof),
            remedy::restart_with_note(case.evidence, note),
        ),
        rank: RULE.rank,
        supports: case.topology.peers.iter().map(|peer| Effect::NoRoute(peer.cidr)).collect(),
        explains,
        as_break: format!("routes and neighbours of {name}"),
    }
}

fn since(case: &Case<'_>, entries: &[&FdbEntry], proof: &Proof) -> Since {
    let youngest = entries.iter().filter_map(|entry| entry.updated_age).reduce(f64::min);
    match proof {
        Proof::Age(came_up) => {
            let time = case.moments_ago(*came_up);
            Since {
                time,
                not_before: youngest.and_then(|age| case.moments_ago(age)),
                not_after: time,
                precision: Precision::Bounded,
                changed_by: None,
            }
        }
        Proof::LivingPeer => case.after_age(youngest),
    }
}

fn evidence(case: &Case<'_>, name: &str, entries: &[&FdbEntry], proof: &Proof) -> Vec<String> {
    let has_address = case.topology.overlay_addresses().next().is_some();
    let address = if has_address { "with" } else { "without" };
    let nodes = Vec::from_iter(nodes_of(entries));
    let proven_by = match proof {
        Proof::Age(_) => {
            "its link-local address, which the kernel creates when a link comes up, is younger than \
             every FDB entry"
        }
        Proof::LivingPeer => "a peer lives: it is named by intent or its VXLAN packets came in",
    };
    vec![
        format!(
            "{name} is up {address} its address, with {} FDB entries ({})",
            entries.len(),
            first_few(&nodes)
        ),
        format!("{name} has no neighbour entry and no route"),
        proven_by.to_owned(),
    ]
}
