//! `flannel-wrong-interface`: the tunnel is bound to a device, and sends from its address, by which
//! no peer is reached.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
    underlay::{destination, unanswered},
};
use crate::evidence::{Address, Link, Tables};

pub(super) const RULE: Rule = Rule {
    code: "flannel-wrong-interface",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    Ruling::from(wrong(case, tables, overlay))
}

fn wrong(case: &Case<'_>, tables: &Tables, overlay: &Link) -> Option<Judged> {
    let bound =
        tables.link(case.topology.tunnel_device()?).filter(|link| link.up && link.lower_up)?;
    let local = overlay.vxlan.as_ref()?.local?;
    let source = tables.addresses.iter().find(|address| address.address == local)?;
    let towards = case.topology.peer_devices();
    let leads_there = |index: u32| towards.iter().any(|link| link.index == index);
    let fits = leads_there(bound.index)
        || leads_there(source.ifindex)
        || towards
            .iter()
            .any(|link| link.lower == Some(bound.index) || bound.lower == Some(link.index));
    if towards.is_empty() || fits || bound.name == "lo" || is_host_address(source) {
        return None;
    }
    // Where no node answers by it either, the other device is the wrong one.
    let peers = case.topology.peers.iter();
    let mut nodes = peers.filter_map(|peer| Some((peer, destination(peer)?))).peekable();
    let is_dead = |(peer, node)| unanswered(case, peer, node).is_some();
    if nodes.peek().is_some() && nodes.all(is_dead) {
        return None;
    }
    Some(judged(case, overlay, bound, source, &towards))
}

/// An address that belongs to no link but is routed to, as nodes have that choose among several
/// uplinks by a routing protocol.
const fn is_host_address(address: &Address) -> bool {
    address.prefix_length == if address.address.is_ipv4() { 32 } else { 128 }
}

fn judged(
    case: &Case<'_>,
    overlay: &Link,
    bound: &Link,
    source: &Address,
    towards: &[&Link],
) -> Judged {
    let name = &overlay.name;
    let names: Vec<&str> = towards.iter().map(|link| link.name.as_str()).collect();
    let local = source.address;
    let mut repair =
        vec![format!("(set --iface={0} for flannel, with k3s --flannel-iface={0})", names[0])];
    repair.extend(remedy::restart_flannel(case.evidence));
    Judged {
        finding: RULE.finding(
            format!("{name} sends from {local} of {}, and no peer is reached by it", bound.name),
            case.about_interface(name),
            case.before_start(),
            vec![
                format!("{name} is bound to {} and has the local address {local}", bound.name),
                format!(
                    "asked for the nodes of the peers, the kernel sends by {}",
                    names.join(", ")
                ),
            ],
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("interface of {name}"),
    }
}
