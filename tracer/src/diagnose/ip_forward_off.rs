//! `ip-forward-off`: the kernel forwards nothing that comes in by the pods' bridge or by the
//! overlay device.
//!
//! For IPv4 each device decides, for IPv6 the node (net/ipv6/ip6_output.c, ip6_forward, Linux 5.10
//! to 6.18), but for devices that are set to forward all the same: of these (`force_forwarding`,
//! since 6.17) the kernel tells nothing when asked, and packets that pass do.
//!
//! A node without pods is healthy with forwarding off: the bridge plugin switches it on with the
//! first pod.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    pods, remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Family, Link, Scope, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "ip-forward-off",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

/// A device by which packets come in that are to be forwarded.
struct Entrance<'a> {
    link: &'a Link,
    /// Where its packets end when it does not forward.
    loses: StagePair,
    /// Whose packets these are.
    whose: &'static str,
}

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    let is_off = |entrance: &Entrance<'_>| is_off(case, tables, entrance.link);
    let closed: Vec<Entrance<'_>> = entrances(case, tables).into_iter().filter(is_off).collect();
    let first = closed.first().map(|first| judged(case, tables, first.link, &closed));
    Ruling::from(first)
}

fn is_off(case: &Case<'_>, tables: &Tables, link: &Link) -> bool {
    match case.topology.family {
        Family::V4 => tables.forwards(4, Scope::Device(link.index)) == Some(false),
        Family::V6 => tables.forwards(6, Scope::All) == Some(false) && !forwards(case),
    }
}

/// Packets of peers came out of the tunnel and went to pods.
fn forwards(case: &Case<'_>) -> bool {
    let mut packets = case.topology.peers.iter().filter_map(|peer| peer.traffic);
    packets.any(|it| it.packets.overlay_in > 0 && it.packets.pod_in > 0)
}

/// The bridge with pods on it, and the overlay device where packets from the tunnel go to pods.
fn entrances<'a>(case: &Case<'a>, tables: &Tables) -> Vec<Entrance<'a>> {
    let has_ports = !pods::ports(case, tables).is_empty();
    let bridge = case.topology.bridge.filter(|_| has_ports).map(|link| Entrance {
        link,
        loses: StagePair::PodToOverlay,
        whose: "what this node's pods send to other nodes",
    });
    let has_pods = has_ports || pods::are_without_bridge(case, tables);
    let overlay = case.topology.overlay.filter(|_| has_pods && uses_tunnel(case));
    let overlay = overlay.map(|link| Entrance {
        link,
        loses: StagePair::OverlayToPod,
        whose: "what comes out of the tunnel for this node's pods",
    });
    bridge.into_iter().chain(overlay).collect()
}

/// A tunnel that is in use, and not one that DirectRouting leaves without a peer.
fn uses_tunnel(case: &Case<'_>) -> bool {
    let peers = &case.topology.peers;
    case.topology.overlay_addresses().next().is_some()
        && (peers.is_empty() || peers.iter().any(|peer| peer.direct.is_none()))
}

fn judged(case: &Case<'_>, tables: &Tables, first: &Link, closed: &[Entrance<'_>]) -> Judged {
    let names: Vec<&str> = closed.iter().map(|it| it.link.name.as_str()).collect();
    let names = names.join(" and ");
    let family = case.topology.family;
    let all = tables.forwards(family.number(), Scope::All);
    let (title, repair) = match family {
        Family::V4 => ("Forwarding", repair(case, closed, all == Some(true))),
        Family::V6 => ("Forwarding of IPv6", repair_of_ipv6(case)),
    };
    Judged {
        finding: RULE.finding(
            format!("{title} is off on {names} of {}", case.evidence.node.name),
            case.about_interface(&first.name),
            case.before_start(),
            evidence(family, closed, all),
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: explains(case, closed),
        as_break: format!("forwarding on {names}"),
    }
}

fn evidence(family: Family, closed: &[Entrance<'_>], all: Option<bool>) -> Vec<String> {
    let line = |it: &Entrance<'_>| match family {
        Family::V4 => format!(
            "net.ipv4.conf.{}.forwarding is 0: {} ends here, without an ICMP error",
            it.link.name, it.whose
        ),
        Family::V6 => format!(
            "net.ipv6.conf.all.forwarding is 0: {} ends at {}, without an ICMP error",
            it.whose, it.link.name
        ),
    };
    let of_node = |on| format!("net.ipv4.ip_forward of the node is {}", u8::from(on));
    let of_node = all.filter(|_| family == Family::V4).map(of_node);
    closed.iter().map(line).chain(of_node).collect()
}

/// Nothing of a peer that is routed directly comes by the tunnel.
fn explains(case: &Case<'_>, closed: &[Entrance<'_>]) -> BTreeSet<Effect> {
    let of_peer = |peer: &Peer<'_>| {
        let (cidr, by_tunnel) = (peer.cidr, peer.direct.is_none());
        let lost = closed.iter().filter(move |it| by_tunnel || it.loses == StagePair::PodToOverlay);
        lost.map(move |it| Effect::Loss(cidr, it.loses)).collect::<Vec<_>>()
    };
    case.topology.peers.iter().flat_map(of_peer).collect()
}

/// Writing 1 over 1 changes no device (net/ipv4/devinet.c, devinet_sysctl_forward, Linux 5.10 to
/// 6.18): where the node's own setting is on, each device's has to be written.
fn repair(case: &Case<'_>, closed: &[Entrance<'_>], node_is_on: bool) -> Vec<String> {
    let mut lines = if node_is_on {
        let path = |it: &Entrance<'_>| format!("net/ipv4/conf/{}/forwarding", it.link.name);
        closed.iter().map(|it| remedy::set_sysctl(case.evidence, &path(it), 1)).collect()
    } else {
        vec![remedy::set_sysctl(case.evidence, "net.ipv4.ip_forward", 1)]
    };
    lines.push(whoever("IPv4Forwarding="));
    lines
}

fn repair_of_ipv6(case: &Case<'_>) -> Vec<String> {
    let setting = "net.ipv6.conf.all.forwarding";
    let router = "(before that, where the uplink has its address or default route by router \
                  advertisements: set its accept_ra to 2, or a node that forwards loses them)";
    let set = remedy::set_sysctl(case.evidence, setting, 1);
    vec![set, router.to_owned(), whoever("IPv6Forwarding=")]
}

fn whoever(of_systemd: &str) -> String {
    format!(
        "(what switched it off may do so again: look for `forward` in /etc/sysctl.conf and \
         /etc/sysctl.d, and for IPForward= or {of_systemd} of systemd-networkd)"
    )
}
