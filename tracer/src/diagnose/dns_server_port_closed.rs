//! `dns-server-port-closed`: the pod of a DNS server says itself that nobody listens there.
//!
//! Who scans finds closed ports 53 too: so it must be asked for names, again and again or as what
//! stands behind a service, and must answer next to none.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{self, closed},
    finding::{Confidence, Severity, Subject},
    rule::{Judged, Rank, Rule, Ruling},
    sighted::Seen,
};

pub(super) const RULE: Rule = Rule {
    code: "dns-server-port-closed",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let closed = closed(case);
    Ruling::from(closed.iter().map(|(pod, seen)| judged(case, *pod, *seen)).collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, pod: IpAddr, seen: Seen) -> Judged {
    let seconds = case.evidence.window.seconds;
    Judged {
        finding: RULE.finding(
            format!("The DNS server's pod {pod} does not listen on UDP port 53"),
            subject(case, pod),
            case.in_window(),
            vec![format!(
                "{} ICMP errors \"port unreachable\" in {seconds:.1} s from {pod} itself, which is asked for \
                 names",
                seen.packets
            )],
            vec![
                format!("kubectl get pods -A -o wide --field-selector status.podIP={pod}"),
                "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
                "(the network is fine: the pod is up, and its DNS server has ended or has not begun \
                 to listen)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("dns {pod}"),
    }
}

fn subject(case: &Case<'_>, pod: IpAddr) -> Subject {
    let peer = case.topology.peer_of(pod);
    let own = case.topology.own_cidrs.iter().find(|cidr| cidr.contains(&pod));
    Subject {
        peer: peer.and_then(|peer| peer.node_ip),
        cidr: peer.map(|peer| peer.cidr).or(own.copied()),
        ..dns_servers::subject(pod)
    }
}
