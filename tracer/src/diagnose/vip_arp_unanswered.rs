//! `vip-arp-unanswered`: nobody answers for a VIP.
//!
//! This node sees the requests, which are broadcast, but not another's replies. So the proof is who
//! asks: a client that gets no answer asks again after a second, three times, and with the next packet
//! anew. One that has an answer does not.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    vip,
};
use crate::evidence::{Vip, VipClient};

pub(super) const RULE: Rule = Rule {
    code: "vip-arp-unanswered",
    severity: Severity::Critical,
    confidence: Confidence::Likely,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let in_use = vip::of_case(case).filter(|(vip, _)| vip::is_in_use(vip));
    let judged = in_use.filter_map(|(vip, tables)| {
        let retrying = vip::retrying(case, vip, tables);
        (!retrying.is_empty()).then(|| judged(case, vip, &retrying))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, vip: &Vip, retrying: &[&VipClient]) -> Judged {
    let address = vip.address;
    let protocol = vip::protocol(vip);
    Judged {
        finding: RULE.finding(
            format!("Nobody answers {protocol} for the VIP {address}"),
            vip::about(vip),
            case.in_window(),
            vip::asked_in_vain(vip, retrying),
            remedy(vip),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Unanswered(address)]),
        explains: BTreeSet::new(),
        as_break: format!("vip {address}"),
    }
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
