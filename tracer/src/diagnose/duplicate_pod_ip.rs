//! `duplicate-pod-ip`: two MACs claim one pod's address on the bridge.
//!
//! An address that goes from one pod to another is claimed by one after the other. So each must be
//! heard in both halves of the window.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    finding::{Confidence, Severity, Subject, SubjectKind},
    rule::{Judged, Rank, Rule, Ruling},
    sighted::lasting,
};
use crate::evidence::{MacAddress, Sight, Sighting};

pub(super) const RULE: Rule = Rule {
    code: "duplicate-pod-ip",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// How many claims of each MAC: one in each half.
const ENOUGH: u64 = 2;
/// How many pods may seem to share their addresses with one MAC before it is an answerer for all,
/// such as a proxy.
const FEW: usize = 2;

fn judge(case: &Case<'_>) -> Ruling {
    let Some(bridge) = case.topology.bridge else { return Ruling::default() };
    let is_local =
        |address: IpAddr| case.topology.tables.is_none_or(|tables| tables.is_local(address));
    let name = |sighting: &Sighting| match sighting.what {
        Sight::Claim { address, mac }
            if sighting.interface == bridge.name
                && case.topology.is_own(address)
                && !is_local(address)
                && bridge.mac != Some(mac) =>
        {
            Some((address, mac))
        }
        _ => None,
    };
    let mut claims = BTreeMap::<IpAddr, Vec<(MacAddress, u64)>>::new();
    let mut of_mac = BTreeMap::<MacAddress, usize>::new();
    for ((address, mac), seen) in lasting(case, ENOUGH, name) {
        claims.entry(address).or_default().push((mac, seen.packets));
        *of_mac.entry(mac).or_default() += 1;
    }
    for claimants in claims.values_mut() {
        claimants.retain(|(mac, _)| of_mac.get(mac).is_some_and(|count| *count <= FEW));
    }
    claims.retain(|_, claimants| claimants.len() > 1);
    let judged = claims.iter().map(|(pod, claimants)| judged(case, &bridge.name, *pod, claimants));
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, bridge: &str, pod: IpAddr, claims: &[(MacAddress, u64)]) -> Judged {
    let protocol = if pod.is_ipv4() { "ARP packets" } else { "neighbour advertisements" };
    let macs: Vec<String> = claims.iter().map(|(mac, _)| mac.to_string()).collect();
    let own = case.topology.own_cidrs.iter().find(|cidr| cidr.contains(&pod));
    let lines = claims.iter().map(|(mac, packets)| {
        format!(
            "{packets} {protocol} on {bridge} claim {pod} for {mac}, in both halves of the window"
        )
    });
    Judged {
        finding: RULE.finding(
            format!("Two pods have the address {pod}: {}", macs.join(" and ")),
            Subject {
                kind: SubjectKind::Flow,
                key: pod.to_string(),
                peer: None,
                cidr: own.copied(),
                vtep_mac: None,
                interface: Some(bridge.to_owned()),
                address: Some(pod),
            },
            case.in_window(),
            lines.collect(),
            vec![
                format!(
                    "kubectl get pods -A -o wide --field-selector status.podIP={pod}      (delete one \
                     of them)"
                ),
                "ls /var/lib/cni/networks/*      (the addresses that are given out; they were lost if \
                 pods are missing there)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("address {pod}"),
    }
}
