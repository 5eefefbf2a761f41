//! `rp-filter-drops-outer`: the tunnel's packets from a peer come in by one device and the way back to
//! its node leads by another, and the kernel is set to drop such packets (`rp_filter` 1, strict).
//!
//! IPv4 alone has the setting; the greater of `all` and the device's holds (IN_DEV_RPFILTER in
//! include/linux/inetdevice.h, Linux 5.10 to 6.18).

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Link, Origin, RouteOutcome, StagePair, Statistics},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "rp-filter-drops-outer",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// Strict: a packet has to come in by the device of the way back.
pub(super) const STRICT: u8 = 1;
/// Fewer packets prove nothing.
const ENOUGH: u64 = 3;

fn judge(case: &Case<'_>) -> Ruling {
    let Some(statistics) = &case.evidence.statistics else { return Ruling::default() };
    let dropped = statistics.snmp.map_or(0, |it| it.tcp_ext_reverse_path_filter);
    let lost: u64 = case.topology.peers.iter().map(lost_of).sum();
    // Each packet that was lost must have been counted, or something else took it.
    if lost < ENOUGH || dropped < lost {
        return Ruling::default();
    }
    let judged = case.topology.peers.iter().filter_map(|peer| {
        let back = way_back(case, peer).filter(|_| lost_of(peer) > 0)?;
        let others = case.topology.uplinks.iter().filter(|link| link.index != back.index);
        let strict = others.filter(|link| mode(statistics, &link.name) == STRICT);
        let strict: Vec<&str> = strict.map(|link| link.name.as_str()).collect();
        (!strict.is_empty()).then(|| judged(case, peer, &strict, back, dropped))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// What certainly died between the uplink and the overlay device, in both halves of the window.
fn lost_of(peer: &Peer<'_>) -> u64 {
    let traffic = peer.traffic.filter(|it| it.lost_early.wire_to_overlay > 0);
    traffic.map_or(0, |it| it.lost.wire_to_overlay)
}

/// The one device by which the kernel sends to the peer's node; the overlay device is no way there.
fn way_back<'a>(case: &Case<'a>, peer: &Peer<'_>) -> Option<&'a Link> {
    let (tables, node_ip) = (case.topology.tables?, peer.node_ip.filter(|ip| ip.is_ipv4())?);
    let mut answers = tables.answers.iter();
    let answer = answers.find(|it| it.origin == Origin::Node && it.destination == node_ip)?;
    let RouteOutcome::Route(route) = &answer.outcome else { return None };
    let [hop] = route.next_hops.as_slice() else { return None };
    tables.link(hop.ifindex?).filter(|link| case.topology.overlay != Some(link))
}

/// What holds for a device.
pub(super) fn mode(statistics: &Statistics, name: &str) -> u8 {
    let settings = statistics.rp_filter.iter();
    let theirs = settings.filter(|it| it.interface.as_deref().is_none_or(|its| its == name));
    theirs.map(|it| it.mode).max().unwrap_or(0)
}

fn repair(case: &Case<'_>, strict: &[&str], node: &str) -> Vec<String> {
    let loosen = |name: &&str| {
        remedy::set_sysctl(case.evidence, &format!("net/ipv4/conf/{name}/rp_filter"), 2)
    };
    let note = format!(
        "(2 is loose; or route {node} by {}; net.ipv4.conf.all.rp_filter counts when it is greater)",
        strict.join(" or ")
    );
    strict.iter().map(loosen).chain([note]).collect()
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, strict: &[&str], back: &Link, dropped: u64) -> Judged {
    let (cidr, name) = (peer.cidr, strict.join(" or "));
    let node = peer.node_ip.map_or_else(|| "its node".to_owned(), |ip| ip.to_string());
    Judged {
        finding: RULE.finding(
            format!("rp_filter on {name} drops the tunnel's packets from {cidr} ({node})"),
            case.about_peer(peer),
            case.in_window(),
            vec![
                format!("net.ipv4.conf: rp_filter of {name} is {STRICT}, and the way to {node} leads by {}", back.name),
                format!(
                    "{} packets of {cidr} came in by an uplink and not out of the tunnel; the kernel \
                     dropped {dropped} by reverse path (IPReversePathFilter)",
                    lost_of(peer)
                ),
            ],
            repair(case, strict, &node),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::from([
            Effect::Loss(cidr, StagePair::WireToOverlay),
            Effect::Silence(cidr),
        ]),
        as_break: format!("what {cidr} sends"),
    }
}
