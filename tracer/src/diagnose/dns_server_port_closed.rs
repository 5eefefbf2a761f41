//! `dns-server-port-closed`: the pod of a DNS server says itself that nobody listens there, or this node
//! says it for a server of its own.
//!
//! Who scans finds closed ports 53 too: so it must be asked for names, again and again or as what
//! stands behind a service, and must answer next to none. A filter of the node can refuse in the same
//! words: it is a cause only where no such drop could have been missed.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    dns_servers::{self, PORT, closed, closed_here},
    dns_unexplained::listeners,
    dropped::{Dropper, drops, told},
    finding::{Confidence, Finding, Severity, Subject},
    firewall::show_rules,
    rule::{Judged, Rank, Rule, Ruling},
    sighted::{Seen, UDP},
};
use crate::evidence::{Drop, DropFlow, Drops};

pub(super) const RULE: Rule = Rule {
    code: "dns-server-port-closed",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let (of_pods, of_node) = (closed(case), closed_here(case));
    let of_pods = of_pods.iter().map(|(pod, seen)| judged(*pod, in_pod(case, *pod, *seen)));
    let of_node = of_node.iter().filter(|(server, _)| !is_dropped(case, **server));
    let of_node = of_node.map(|(server, seen)| judged(*server, here(case, *server, *seen)));
    Ruling::from(of_pods.chain(of_node).collect::<Vec<_>>())
}

/// Whether a filter of this node dropped any query to its server: it may refuse what it drops.
fn is_dropped(case: &Case<'_>, server: IpAddr) -> bool {
    drops(case).any(|drop| {
        let its = |flow: DropFlow| {
            (flow.destination, flow.protocol, flow.destination_port) == (server, UDP, PORT)
        };
        told(drop, Dropper::Firewall).is_some() && drop.flow.is_some_and(its)
    })
}

/// Whether every drop of a filter is listed with its flow.
fn lists_all_drops(case: &Case<'_>) -> bool {
    let is_whole = |it: &Drops| it.headers_read && it.left_out + it.flow_evictions + it.missed == 0;
    let is_nameless = |drop: &Drop| drop.flow.is_none() && told(drop, Dropper::Firewall).is_some();
    case.evidence.drops.as_ref().is_some_and(is_whole) && !drops(case).any(is_nameless)
}

fn in_pod(case: &Case<'_>, pod: IpAddr, seen: Seen) -> Finding {
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

/// Of a server that this node has itself: likely where drops of a filter may have been missed.
fn here(case: &Case<'_>, server: IpAddr, seen: Seen) -> Finding {
    let node = &case.evidence.node.name;
    let mut evidence = vec![
        refusals(case, server, seen),
        format!(
            "{server} is an address of {node} (NodeLocal DNS, or a server in the host's network)"
        ),
    ];
    let mut repair = vec![
        format!("kubectl get pods -A -o wide --field-selector spec.nodeName={node} | grep dns"),
        format!("{}      (on {node}: who listens, and at which address)", listeners(case)),
    ];
    let is_certain = lists_all_drops(case);
    let confidence = if is_certain {
        repair.push(
            "(the network is fine: the DNS server of this node has ended or has not begun to listen; \
             the address stays behind and keeps its queries here)"
                .to_owned(),
        );
        RULE.confidence
    } else {
        evidence.push(
            "not every drop can be read here: a packet filter, or kube-proxy for a service without \
             endpoints, may refuse in its name"
                .to_owned(),
        );
        repair.extend(show_rules(case, &format!("what rejects UDP 53 of {server}")));
        Confidence::Likely
    };
    let title = format!("{node}'s own DNS server at {server} does not listen on UDP port 53");
    let finding = RULE.finding(title, subject(case, server), case.in_window(), evidence, repair);
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
