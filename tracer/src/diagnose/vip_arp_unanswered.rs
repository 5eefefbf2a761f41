//! `vip-arp-unanswered`: nobody answers for a VIP.
//!
//! This node sees the requests, which are broadcast, but not another's replies. So the proof is who
//! asks: a client that gets no answer asks again after a second, three times, and with the next packet
//! anew. One that has an answer does not.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Judged, Rank, Rule, Ruling},
    vip,
};
use crate::{
    evidence::{Tables, Vip, VipClient},
    topology::mac_owner_in,
};

pub(super) const RULE: Rule = Rule {
    code: "vip-arp-unanswered",
    severity: Severity::Critical,
    confidence: Confidence::Likely,
    rank: Rank::Live,
    judge,
};

/// How long after its last claim a VIP that was learned counts as one: seconds.
const FORGOTTEN: f64 = 3600.0;

fn judge(case: &Case<'_>) -> Ruling {
    let judged =
        vip::of_case(case).filter(|(vip, _)| is_in_use(vip)).filter_map(|(vip, tables)| {
            let is_proof = |it: &&VipClient| it.retries(vip) && is_outside(case, tables, it);
            let retrying: Vec<&VipClient> = vip.clients.iter().filter(is_proof).collect();
            (!retrying.is_empty()).then(|| judged(case, vip, &retrying))
        });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// Whether it is certainly a VIP still: an address that nodes gave up may be asked for in vain.
fn is_in_use(vip: &Vip) -> bool {
    vip.given || vip.owner.as_ref().is_some_and(|owner| owner.age <= FORGOTTEN)
}

/// Whether a client is no node of the cluster: a node may ask for the VIP that it has announced
/// itself, because it lacks the rules for it.
fn is_outside(case: &Case<'_>, tables: &Tables, client: &VipClient) -> bool {
    let is_node = tables.is_local(client.address)
        || case.topology.peers.iter().any(|peer| peer.node_ip == Some(client.address));
    !is_node && mac_owner_in(&case.topology, tables, client.mac).is_none()
}

fn judged(case: &Case<'_>, vip: &Vip, retrying: &[&VipClient]) -> Judged {
    let address = vip.address;
    let protocol = if address.is_ipv4() { "ARP" } else { "neighbour discovery" };
    Judged {
        finding: RULE.finding(
            format!("Nobody answers {protocol} for the VIP {address}"),
            vip::about(vip),
            case.in_window(),
            evidence(vip, retrying, protocol),
            remedy(vip),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("vip {address}"),
    }
}

fn evidence(vip: &Vip, retrying: &[&VipClient], protocol: &str) -> Vec<String> {
    /// Clients that are listed.
    const LISTED: usize = 3;
    let address = vip.address;
    let mut lines: Vec<String> = retrying
        .iter()
        .take(LISTED)
        .map(|client| {
            let ago: Vec<String> =
                client.asked.iter().rev().map(|age| format!("{age:.1}")).collect();
            format!(
                "{} ({}) asked for {address} again and again: {} s before the end of the check",
                client.address,
                client.mac,
                ago.join(", ")
            )
        })
        .collect();
    if retrying.len() > LISTED {
        lines.push(format!("{} more clients did the same", retrying.len() - LISTED));
    }
    lines.push(match &vip.owner {
        Some(owner) => format!(
            "{} claimed it last, {:.1} s before the end of the check, by {protocol}",
            owner.mac, owner.age
        ),
        None => format!("nobody was seen to claim it by {protocol}"),
    });
    lines
}

fn remedy(vip: &Vip) -> Vec<String> {
    let address = vip.address;
    let probe = if address.is_ipv4() { "arping -c 3" } else { "ndisc6" };
    vec![
        format!("kubectl get svc -A | grep -w {address}      (is it a Service's at all?)"),
        "kubectl get nodes -l node.kubernetes.io/exclude-from-external-load-balancers      (MetalLB \
         announces nothing from nodes with this label; Talos and kubeadm put it on control planes)"
            .to_owned(),
        "kubectl label node NODE node.kubernetes.io/exclude-from-external-load-balancers-      (takes \
         it off; or set speaker.ignoreExcludeLB=true in MetalLB's chart)"
            .to_owned(),
        "kubectl -n metallb-system get l2advertisements,ipaddresspools,pods -o wide      (an \
         L2Advertisement for its pool, and a speaker that runs)"
            .to_owned(),
        format!("{probe} {address}      (from a machine of its network: to see it again)"),
    ]
}
