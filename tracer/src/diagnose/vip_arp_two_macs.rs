//! `vip-arp-two-macs`: two nodes of the cluster claim one VIP again and again.
//!
//! One that follows another is a failover. So both must be heard in both halves of the window, and in
//! turn.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Judged, Rank, Rule, Ruling},
    vip,
};
use crate::{
    evidence::{Tables, Vip},
    topology::{MacOwner, mac_owner_in},
};

pub(super) const RULE: Rule = Rule {
    code: "vip-arp-two-macs",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let judged = vip::of_case(case).filter_map(|(vip, tables)| judged(case, vip, tables));
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, vip: &Vip, tables: &Tables) -> Option<Judged> {
    let name = |mac| {
        mac_owner_in(&case.topology, tables, mac).map(|owner| match owner {
            MacOwner::Own => case.evidence.node.name.clone(),
            MacOwner::Peer { node, name } => name.map_or_else(|| node.to_string(), str::to_owned),
        })
    };
    let rivals = vip::rivals(vip);
    // One node may answer with several MACs.
    let nodes: BTreeSet<String> = rivals.iter().filter_map(|it| name(it.mac)).collect();
    if nodes.len() < 2 {
        return None;
    }
    let address = vip.address;
    let nodes = Vec::from_iter(nodes).join(" and ");
    let whose = |mac| name(mac).unwrap_or_else(|| "no node that this one knows".to_owned());
    Some(Judged {
        finding: RULE.finding(
            format!("The VIP {address} is announced by {nodes}"),
            vip::about(vip),
            case.in_window(),
            vip::lines(&rivals, |it| whose(it.mac)),
            vec![
                "kubectl -n metallb-system get pods -l component=speaker -o wide      (speakers that do \
                 not hear each other each take the VIP: memberlist, TCP and UDP 7946)"
                    .to_owned(),
                "kubectl -n kube-system get configmap kube-proxy -o yaml | grep strictARP      (must \
                 be true in IPVS mode, or every node answers)"
                    .to_owned(),
                format!("ip address show to {address}      (on each of them: on one at most)"),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("vip {address}"),
    })
}
