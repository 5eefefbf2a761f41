//! `dns-server-port-closed`: the pod of a DNS server says itself that nobody listens there, or this node
//! says it for a server of its own.
//!
//! Who scans finds closed ports 53 too: so it must be asked for names, again and again or as what
//! stands behind a service, and must answer next to none. A filter of the node can refuse in the same
//! words: where its drops are read it would be seen.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    blocked::filtered,
    case::Case,
    dns_servers::{self, PORT, closed, closed_here},
    finding::{Confidence, Finding, Severity, Subject},
    rule::{Judged, Rank, Rule, Ruling},
    sighted::{Seen, UDP},
};

pub(super) const RULE: Rule = Rule {
    code: "dns-server-port-closed",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let (closed, here, rejected) = (closed(case), closed_here(case), rejected(case));
    let mut judged: Vec<Judged> =
        closed.iter().map(|(pod, seen)| judged(*pod, of_pod(case, *pod, *seen))).collect();
    for (server, seen) in here.iter().filter(|(server, _)| !rejected.contains(server)) {
        judged.push(self::judged(*server, of_node(case, *server, *seen)));
    }
    Ruling::from(judged)
}

/// Servers of this node whose queries a filter drops, and perhaps refuses.
fn rejected(case: &Case<'_>) -> BTreeSet<IpAddr> {
    let found = filtered(case, |drop| {
        let flow = drop.flow.filter(|it| (it.protocol, it.destination_port) == (UDP, PORT))?;
        Some(flow.destination)
    });
    found.into_keys().collect()
}

fn of_pod(case: &Case<'_>, pod: IpAddr, seen: Seen) -> Finding {
    RULE.finding(
        format!("The DNS server's pod {pod} does not listen on UDP port 53"),
        subject(case, pod),
        case.in_window(),
        vec![refusals(case, pod, seen)],
        vec![
            format!("kubectl get pods -A -o wide --field-selector status.podIP={pod}"),
            "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
            "(the network is fine: the pod is up, and its DNS server has ended or has not begun to \
             listen)"
                .to_owned(),
        ],
    )
}

/// Of a server that this node has itself: likely where a filter's drops cannot be told from it.
fn of_node(case: &Case<'_>, server: IpAddr, seen: Seen) -> Finding {
    let node = &case.evidence.node.name;
    let reads_drops = case.evidence.drops.as_ref().is_some_and(|drops| drops.headers_read);
    let finding = RULE.finding(
        format!("{node}'s own DNS server at {server} does not listen on UDP port 53"),
        subject(case, server),
        case.in_window(),
        vec![
            refusals(case, server, seen),
            format!("{server} is an address of {node} (NodeLocal DNS, or a server in the host's network)"),
        ],
        vec![
            format!(
                "kubectl -n kube-system get pods -o wide -l k8s-app=node-local-dns --field-selector \
                 spec.nodeName={node}"
            ),
            format!("ss -ulpn 'sport = :53'      (on {node}: who listens, and at which address)"),
            "(the network is fine: the DNS server of this node has ended or has not begun to listen; the \
             address stays behind and keeps its queries here)"
                .to_owned(),
        ],
    );
    let confidence = if reads_drops { finding.confidence } else { Confidence::Likely };
    Finding { confidence, ..finding }
}

fn refusals(case: &Case<'_>, server: IpAddr, seen: Seen) -> String {
    format!(
        "{} ICMP errors \"port unreachable\" in {:.1} s from {server} itself, which is asked for names",
        seen.packets, case.evidence.window.seconds
    )
}

fn judged(server: IpAddr, finding: Finding) -> Judged {
    Judged {
        finding,
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("dns {server}"),
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
