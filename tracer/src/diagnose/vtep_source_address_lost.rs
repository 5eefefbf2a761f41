//! `vtep-source-address-lost`: the overlay device sends from an address that this node has not, or
//! that the kernel does not use because another host has it too.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Address, Link, StagePair, Tables};

pub(super) const RULE: Rule = Rule {
    code: "vtep-source-address-lost",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    // A device that is down may have taken its addresses with it.
    rank: Rank::Table,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let is_lost = |local: &IpAddr| !local.is_unspecified() && !tables.takes_packets_to(*local);
    let lost = case.node_ip().filter(is_lost);
    Ruling::from(lost.map(|local| judged(case, tables, overlay, local)))
}

fn judged(case: &Case<'_>, tables: &Tables, overlay: &Link, lost: IpAddr) -> Judged {
    let name = &overlay.name;
    // The kernel removes the routes of a device with its last address.
    let mut explains = BTreeSet::from([
        Effect::NoSourceAddress(case.topology.family),
        Effect::NoDefaultRoute(case.topology.family),
    ]);
    for peer in &case.topology.peers {
        explains.extend(Effect::beyond_overlay(peer.cidr));
        // As long as the peers remember the node's MAC, packets come in for an address it has not.
        explains.insert(Effect::Loss(peer.cidr, StagePair::WireToOverlay));
    }
    let (title, lines, repair) = match tables.addresses.iter().find(|it| it.address == lost) {
        Some(refused) => of_refused(tables, overlay, refused),
        None => of_missing(case, tables, overlay, lost),
    };
    Judged {
        finding: RULE.finding(
            title,
            case.about_interface(name),
            case.before_start(),
            lines,
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::NoSourceAddress(case.topology.family)]),
        explains,
        as_break: format!("source address of {name}"),
    }
}

/// Title, evidence and remedy where no device has the address.
fn of_missing(
    case: &Case<'_>,
    tables: &Tables,
    overlay: &Link,
    lost: IpAddr,
) -> (String, Vec<String>, Vec<String>) {
    let name = &overlay.name;
    let note =
        format!("flannel then makes {name} anew; or give {lost} back to the device it was on");
    (
        format!("{name} sends from {lost}, which is no address of this node"),
        vec![
            format!("{name} has the local address {lost} (IFLA_VXLAN_LOCAL), no device has it"),
            now(tables, overlay, lost),
        ],
        remedy::restart_with_note(case.evidence, &note),
    )
}

/// The same where a device has it and may not use it.
fn of_refused(
    tables: &Tables,
    overlay: &Link,
    refused: &Address,
) -> (String, Vec<String>, Vec<String>) {
    let (name, lost, length) = (&overlay.name, refused.address, refused.prefix_length);
    let device = tables.link(refused.ifindex).map_or("its device", |link| &link.name);
    (
        format!("{name} sends from {lost}, which the kernel does not use: another host has it too"),
        vec![
            format!("{name} has the local address {lost} (IFLA_VXLAN_LOCAL)"),
            format!(
                "{lost} on {device} is `dadfailed`: the detection of duplicate addresses failed"
            ),
        ],
        vec![
            format!(
                "(first take {lost} from the other host: `ip -6 neigh` of a third one has its MAC)"
            ),
            format!("ip -6 addr del {lost}/{length} dev {device}"),
            format!("ip -6 addr add {lost}/{length} dev {device}"),
        ],
    )
}

/// Which addresses the device below has now.
fn now(tables: &Tables, overlay: &Link, lost: IpAddr) -> String {
    let lower = overlay.vxlan.as_ref().and_then(|vxlan| tables.link(vxlan.link?));
    let Some(lower) = lower else {
        return format!("{} is bound to no device", overlay.name);
    };
    let now: Vec<String> = tables
        .addresses_of(lower.index)
        .filter(|address| address.address.is_ipv4() == lost.is_ipv4())
        .map(|address| address.address.to_string())
        .collect();
    if now.is_empty() {
        format!("{}, to which it is bound, has no address of that family", lower.name)
    } else {
        format!("{}, to which it is bound, has {}", lower.name, now.join(", "))
    }
}
