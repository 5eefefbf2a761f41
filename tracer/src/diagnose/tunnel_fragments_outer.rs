//! `tunnel-fragments-outer`: full packets of the overlay device do not fit into a device towards the
//! peers once they are encapsulated. flannel sets no DF, so they are sent in fragments.
//!
//! The kernel refuses a VXLAN device that is too large for its lower device, but never lowers it
//! later (drivers/net/vxlan, Linux 5.10 to 6.18).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::{Case, tunnel_overhead},
    finding::{Confidence, Severity},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Family, Link, Origin, RouteOutcome, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "tunnel-fragments-outer",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

/// The least MTU of a link that carries IPv6 (RFC 8200), bytes.
const IPV6_MINIMUM: u32 = 1280;

/// A device that is too small, and how many bytes of inner packet it has room for.
struct Narrow<'a> {
    link: &'a Link,
    mtu: u32,
    room: u32,
    peers: usize,
}

impl Narrow<'_> {
    /// A router's announcement or a setting lowers the MTU of IPv6 alone.
    fn mtu_in_words(&self) -> String {
        if self.mtu == self.link.mtu {
            return self.mtu.to_string();
        }
        let setting = format!("net/ipv6/conf/{}/mtu", self.link.name);
        format!("{} for IPv6 (`sysctl {setting}`; {} else)", self.mtu, self.link.mtu)
    }

    /// The command that gives the device a larger MTU.
    fn raise_to(&self, mtu: u32) -> String {
        let name = &self.link.name;
        if self.mtu == self.link.mtu {
            return format!("ip link set {name} mtu {mtu}");
        }
        format!("sysctl -w net/ipv6/conf/{name}/mtu={mtu}")
    }
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let mut found = BTreeMap::<(u32, u32), Narrow<'_>>::new();
    for peer in case.topology.peers.iter().filter(|peer| peer.direct.is_none()) {
        let Some((node_ip, link)) = way_to(tables, peer) else { continue };
        let mtu = link.mtu_of(Family::of(node_ip));
        let room = mtu.saturating_sub(tunnel_overhead(node_ip.is_ipv4()));
        if overlay.mtu > room {
            let narrow = found.entry((room, link.index));
            narrow.or_insert(Narrow { link, mtu, room, peers: 0 }).peers += 1;
        }
    }
    let found: Vec<Narrow<'_>> = found.into_values().collect();
    Ruling::from(found.first().map(|least| judged(case, overlay, least, &found)))
}

/// The peer's node address, and the device by which the kernel would send to it.
fn way_to<'a>(tables: &'a Tables, peer: &Peer<'_>) -> Option<(IpAddr, &'a Link)> {
    let node_ip = peer.node_ip?;
    let answer = tables
        .answers
        .iter()
        .find(|answer| answer.origin == Origin::Node && answer.destination == node_ip)?;
    let RouteOutcome::Route(route) = &answer.outcome else { return None };
    let links = route.next_hops.iter().filter_map(|hop| tables.link(hop.ifindex?));
    let links = links.filter(|link| link.name != "lo");
    let link = links.min_by_key(|link| link.mtu_of(Family::of(node_ip)))?;
    Some((node_ip, link))
}

fn judged(case: &Case<'_>, overlay: &Link, least: &Narrow<'_>, found: &[Narrow<'_>]) -> Judged {
    let (name, mtu, of) = (&overlay.name, overlay.mtu, case.topology.peers.len());
    let lines = found.iter().map(|it| {
        format!(
            "{}, the kernel's way to {} of {of} peers, has MTU {}: encapsulated, a packet of at most \
             {} fits; {name} has MTU {mtu}",
            it.link.name,
            it.peers,
            it.mtu_in_words(),
            it.room
        )
    });
    Judged {
        finding: RULE.finding(
            format!(
                "{name} MTU {mtu} + {} > {} MTU {}: full packets leave in fragments",
                least.mtu - least.room,
                least.link.name,
                least.mtu
            ),
            case.about_interface(name),
            case.before_start(),
            lines.collect(),
            repair(case, name, least),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("full packets by {}", least.link.name),
    }
}

/// flannel does not compare the MTU of a device that is there already (vxlanLinksIncompat in
/// pkg/backend/vxlan/device.go); a restart has the new one written for the pods to come.
fn repair(case: &Case<'_>, overlay: &str, least: &Narrow<'_>) -> Vec<String> {
    let room = least.room;
    if case.topology.family == Family::V6 && room < IPV6_MINIMUM {
        let needed = IPV6_MINIMUM + tunnel_overhead(false);
        return vec![
            format!("{}      (or more)", least.raise_to(needed)),
            format!("(IPv6 needs {IPV6_MINIMUM} inside the tunnel: a smaller {overlay} loses it)"),
        ];
    }
    let note = format!(
        "so that new pods take {room} too; running pods must be re-created; where flannel does not \
         find the MTU by itself, net-conf.json has one for the backend"
    );
    let mut lines = vec![format!("ip link set {overlay} mtu {room}")];
    lines.extend(remedy::restart_with_note(case.evidence, &note));
    lines
}
