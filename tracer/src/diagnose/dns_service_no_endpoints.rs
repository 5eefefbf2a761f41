//! `dns-service-no-endpoints`: this node refuses what its pods ask the cluster's DNS, as kube-proxy
//! does for a service without ready endpoints.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    case::Case,
    dns_servers::{self, is_asked_in_vain, is_translated},
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    service_addresses::{evidence, refused},
    sighted::Seen,
};

pub(super) const RULE: Rule = Rule {
    code: "dns-service-no-endpoints",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    // In IPVS mode the node has the service's address, and an error of the pod behind it comes from there.
    let is_of_pod = |address: IpAddr| {
        case.topology.tables.is_some_and(|tables| tables.is_local(address))
            && is_translated(case, address)
    };
    // A port 53 that nobody asks for names is a scan, or none of DNS.
    let is_meant = |service: SocketAddr| {
        let address = service.ip();
        service.port() == dns_servers::PORT
            && is_asked_in_vain(case, address)
            && !is_of_pod(address)
    };
    refused(case, is_meant, judged)
}

fn judged(case: &Case<'_>, service: SocketAddr, seen: Seen) -> Judged {
    let address = service.ip();
    Judged {
        finding: RULE.finding(
            format!("The DNS service {address} has no ready endpoints"),
            dns_servers::subject(address),
            case.in_window(),
            evidence(case, service, seen),
            vec![
                "kubectl -n kube-system get pods -o wide -l k8s-app=kube-dns".to_owned(),
                "kubectl -n kube-system get endpointslices -l k8s-app=kube-dns".to_owned(),
                "(the network is fine: no DNS server is there and ready; `kubectl describe` and the \
                 logs of those pods say why)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::ToService(service)]),
        explains: BTreeSet::from([Effect::ToService(service)]),
        as_break: format!("dns {address}"),
    }
}
