//! `masquerade-rules-missing`: pods' connections to the outside leave with the pod's own address,
//! although flannel is to masquerade them. Nobody outside knows the way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, Seen, lasting},
};
use crate::evidence::{Family, FlannelProcess, Platform, Sight, Sighting, SubnetEnv};

pub(super) const RULE: Rule = Rule {
    code: "masquerade-rules-missing",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// How many of the connections are named.
const NAMED: usize = 3;

/// An uplink, a pod, and whom it calls.
type Call<'a> = (&'a str, IpAddr, IpAddr, u16);

fn judge(case: &Case<'_>) -> Ruling {
    let env = case.evidence.intent.subnet_env.as_ref();
    let Some(env) = env.filter(|env| env.ip_masq == Some(true)) else { return Ruling::default() };
    // All calls of an uplink together: each of them may be opened once only.
    let lasts = lasting(case, ENOUGH, |sighting| call(case, sighting).map(|call| call.0));
    if !lasts.is_empty() && !tells_of(case) {
        let line = "whether pods' IPv6 is to be masqueraded: flannel inside k3s writes the same line \
                    with and without --flannel-ipv6-masq";
        return Ruling { unseen: vec![line.to_owned()], ..Ruling::default() };
    }
    let calls = lasting_of(case, &lasts);
    Ruling::from(
        lasts
            .iter()
            .map(|(uplink, seen)| judged(case, env, uplink, &calls, seen.packets))
            .collect::<Vec<_>>(),
    )
}

/// Whether subnet.env tells of this IP version: k3s writes `FLANNEL_IPMASQ=true` always, and
/// masquerades IPv6 only by its option `--flannel-ipv6-masq`.
fn tells_of(case: &Case<'_>) -> bool {
    let is_k3s = case.evidence.flannel.process == FlannelProcess::K3s
        || matches!(case.evidence.node.platform, Platform::K3sServer | Platform::K3sAgent);
    case.topology.family == Family::V4 || !is_k3s
}

/// The calls by these uplinks, with their packets.
fn lasting_of<'a>(case: &Case<'a>, lasts: &BTreeMap<&'a str, Seen>) -> BTreeMap<Call<'a>, u64> {
    let mut calls = BTreeMap::new();
    for sighting in super::sighted::sightings(case) {
        if let Some(call) = call(case, sighting).filter(|call| lasts.contains_key(call.0)) {
            *calls.entry(call).or_default() += sighting.packets;
        }
    }
    calls
}

/// A connection of a pod of this node to an address outside the cluster and the node.
fn call<'a>(case: &Case<'_>, sighting: &'a Sighting) -> Option<Call<'a>> {
    let Sight::Unmasqueraded { source, destination, port } = sighting.what else { return None };
    let topology = &case.topology;
    let services = &case.evidence.intent.service_cidrs;
    let is_inside =
        topology.cluster_cidrs.iter().chain(services).any(|it| it.contains(&destination))
            || topology.peer_of(destination).is_some()
            || topology.tables.is_none_or(|tables| tables.is_local(destination))
            || destination.is_multicast();
    let is_pod = topology.is_own(source) && topology.tables.is_some_and(|it| !it.is_local(source));
    (is_pod && !is_inside).then_some((&sighting.interface, source, destination, port))
}

fn judged(
    case: &Case<'_>,
    env: &SubnetEnv,
    uplink: &str,
    calls: &BTreeMap<Call<'_>, u64>,
    packets: u64,
) -> Judged {
    let seconds = case.evidence.window.seconds;
    let mut evidence = vec![
        format!("{} says FLANNEL_IPMASQ=true", env.path.display()),
        format!(
            "{packets} packets that open a connection to an address outside the cluster left {uplink} in \
             {seconds:.1} s with the address of a pod"
        ),
    ];
    let of_uplink = calls.keys().filter(|call| call.0 == uplink).take(NAMED);
    evidence.extend(
        of_uplink
            .map(|(_, pod, target, port)| format!("for example {pod} to {target}, TCP {port}")),
    );
    Judged {
        finding: RULE.finding(
            "Connections of pods to the outside leave un-masqueraded".to_owned(),
            case.about_node(uplink),
            case.in_window(),
            evidence,
            remedy::restart_with_note(
                case.evidence,
                "and find out who flushed the nat table: `iptables-save -t nat | grep -i flannel`, \
                 `nft list tables`",
            ),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("connections of pods by {uplink}"),
    }
}
