//! `service-no-endpoints`: this node refuses what its pods send to a service, as kube-proxy does for
//! one without ready endpoints. A service that is scaled to nought looks the same.
//!
//! In nftables mode kube-proxy refuses ports that a service does not have as well (since Kubernetes
//! 1.31), in the same words: then it is only likely.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    case::Case,
    dns_servers,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    service_addresses::{evidence, refused, subject},
    sighted::Seen,
};

pub(super) const RULE: Rule = Rule {
    code: "service-no-endpoints",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

/// How the table of kube-proxy's nftables mode is told.
const NFTABLES: &str = "table kube-proxy";

fn judge(case: &Case<'_>) -> Ruling {
    // DNS has a code of its own.
    refused(case, |service| service.port() != dns_servers::PORT, judged)
}

fn judged(case: &Case<'_>, service: SocketAddr, seen: Seen) -> Judged {
    let mut finding = RULE.finding(
        format!("The service {service} has no ready endpoints"),
        subject(service),
        case.in_window(),
        evidence(case, service, seen),
        vec![
            format!("kubectl get services -A -o wide | grep -w {}", service.ip()),
            "kubectl get endpointslices -A      (the service's own: is a pod there, and is it ready?)"
                .to_owned(),
            "(the network is fine: check the readiness of the pods that the service selects)"
                .to_owned(),
        ],
    );
    if case.evidence.intent.service_netfilter.iter().any(|it| it.ends_with(NFTABLES)) {
        finding.confidence = Confidence::Likely;
        finding.remedy.push(format!(
            "(kube-proxy's nftables mode refuses a port that the service does not have, too: is {} one \
             of its ports?)",
            service.port()
        ));
    }
    Judged {
        finding,
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::ToService(service)]),
        explains: BTreeSet::from([Effect::ToService(service)]),
        as_break: format!("the service {service}"),
    }
}
