//! `vip-answered-but-policy-drops`: this node claims a VIP, and a packet filter of its own drops what
//! clients send to it.
//!
//! Dropped by its own address it is proof when kube-proxy itself drops it, for want of an endpoint on
//! this node; others may mean to drop a port that is no service's. Dropped by a pod's address it has
//! passed kube-proxy, so that its port is one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    blocked::{Passed, filtered},
    case::Case,
    dropped::{Dropped, ENOUGH},
    finding::{Confidence, Severity},
    firewall::{flows, perhaps_forbidden, show_rules},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::UDP,
    vip,
};
use crate::evidence::{Drop, DropFlow, Tables, Vip, has_ports};

pub(super) const RULE: Rule = Rule {
    code: "vip-answered-but-policy-drops",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// The VIP, and whether it was dropped by its own address.
type For = (IpAddr, bool);

fn judge(case: &Case<'_>) -> Ruling {
    let claims = |(vip, tables): &(&Vip, &Tables)| vip::is_claimed_here(case, vip, tables);
    let claimed: BTreeMap<IpAddr, &Vip> =
        vip::of_case(case).filter(claims).map(|(vip, _)| (vip.address, vip)).collect();
    let mut ruling = Ruling::default();
    if claimed.is_empty() {
        return ruling;
    }
    let passed = Passed::of(case);
    let found = filtered(case, |drop| meant_for(case, &passed, drop));
    for ((address, is_own), dropped) in found.into_iter().filter(|(_, it)| is_tried(it)) {
        let Some(vip) = claimed.get(&address) else { continue };
        let is_proxys = vip.rules.is_some_and(|rules| rules.dropped);
        let what = || {
            format!("why a packet filter dropped {} packets to the VIP {address}", dropped.packets)
        };
        let doubt = match is_own {
            true if is_proxys => None,
            true => Some(format!("{}: kube-proxy has no rule that drops it", what())),
            false => perhaps_forbidden(case, what),
        };
        match doubt {
            Some(line) => ruling.unseen.push(line),
            None => ruling.judged.push(judged(case, vip, &dropped, is_own)),
        }
    }
    ruling
}

/// The VIP of this node that a dropped packet was for.
fn meant_for(case: &Case<'_>, passed: &Passed, drop: &Drop) -> Option<For> {
    let flow = drop.flow.filter(|flow| has_ports(flow.protocol))?;
    let vip = vip::of_drop(case, drop)?;
    (!passed.knows(flow)).then_some((vip.address, flow.destination == vip.address))
}

/// Whether clients begin anew again and again: datagrams do, and connections of TCP where there are
/// several. A single one may be a late segment, which belongs to no connection any more.
fn is_tried(dropped: &Dropped<'_>) -> bool {
    let flows: BTreeSet<DropFlow> = dropped.drops.iter().filter_map(|drop| drop.flow).collect();
    flows.len() as u64 >= ENOUGH || flows.iter().any(|flow| flow.protocol == UDP)
}

fn judged(case: &Case<'_>, vip: &Vip, dropped: &Dropped<'_>, is_own: bool) -> Judged {
    let (address, node) = (vip.address, &case.evidence.node.name);
    let mut evidence = vip::claimed(vip);
    evidence.push(format!(
        "{} packets of its clients in {:.1} s: {}",
        dropped.packets,
        case.evidence.window.seconds,
        dropped.by()
    ));
    evidence.extend(flows(&dropped.drops));
    if is_own {
        evidence.push(format!(
            "kube-proxy has a rule here that drops {address}: its service has no endpoint on {node}"
        ));
    }
    Judged {
        finding: RULE.finding(
            format!("{node} announces the VIP {address} but drops what comes for it"),
            vip::about(vip),
            case.in_window(),
            evidence,
            remedy(case, vip),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::ToVip(address)]),
        explains: BTreeSet::from([Effect::ToVip(address)]),
        as_break: format!("vip {address}"),
    }
}

fn remedy(case: &Case<'_>, vip: &Vip) -> Vec<String> {
    let (address, node) = (vip.address, &case.evidence.node.name);
    let mut lines = vec![
        format!(
            "kubectl get svc -A -o wide | grep -w {address}      (externalTrafficPolicy: Local needs a \
             ready pod of it on {node}; Cluster does not; loadBalancerSourceRanges must hold the clients)"
        ),
        format!(
            "kubectl get endpointslices -A -o wide | grep -w {node}      (which of its pods are here?)"
        ),
    ];
    lines.extend(show_rules(case, "what drops it"));
    lines
}
