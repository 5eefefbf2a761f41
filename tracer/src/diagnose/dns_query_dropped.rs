//! `dns-query-dropped-at-server`: queries reach the pod of a DNS server, and a packet filter inside it
//! drops them. Where nobody tells what drops there: they reach it, and it answers nothing at all.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    counted::told_of,
    dns_pods::{filtered, here, unanswered},
    dns_servers::{PORT, subject},
    finding::{Confidence, Finding, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{UDP, error_of, sightings},
};
use crate::evidence::{DnsServer, Stage};

pub(super) const RULE: Rule = Rule {
    code: "dns-query-dropped-at-server",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// How many queries must have had no answer where nothing else tells it.
const ENOUGH: u64 = 5;

fn judge(case: &Case<'_>) -> Ruling {
    let seconds = case.evidence.window.seconds;
    let proven = filtered(case);
    let mut judged = Vec::new();
    for (pod, server) in here(case) {
        if let Some(dropped) = proven.get(&pod) {
            judged.push(certain(case, pod, server, &told_of(dropped, seconds)));
        } else if !reads_drops(case) && answers_nothing(case, pod, server) {
            judged.push(likely(case, pod, server));
        }
    }
    Ruling::from(judged)
}

/// Whether it would be known that something dropped them in the pod.
fn reads_drops(case: &Case<'_>) -> bool {
    case.evidence.drops.as_ref().is_some_and(|drops| drops.headers_read)
}

/// Whether queries go into the pod and nothing comes out of it, refusals included.
fn answers_nothing(case: &Case<'_>, pod: IpAddr, server: &DnsServer) -> bool {
    let answers =
        server.answered() + server.answered_late() + server.unmatched + server.tcp.answered;
    let is_refused = sightings(case).filter_map(error_of).any(|error| {
        let quoted = error.quoted;
        (quoted.destination, quoted.protocol, quoted.destination_port) == (pod, UDP, PORT)
    });
    unanswered(server) >= ENOUGH
        && unanswered(server) == server.timed_out()
        && answers + server.lost_sight == 0
        && !is_refused
        && [Stage::PodIn, Stage::PodOut].into_iter().all(|stage| case.sees_all(stage))
        && case.is_live_pod(pod)
}

fn certain(case: &Case<'_>, pod: IpAddr, server: &DnsServer, dropped: &str) -> Judged {
    let finding = RULE.finding(
        format!("Queries reach the DNS server {pod}, and a packet filter inside its pod drops them"),
        subject(pod),
        case.in_window(),
        vec![format!("in the network namespace of {pod} {dropped}"), arrived(case, server)],
        vec![
            the_pod(pod),
            "nsenter -t PID -n nft list ruleset      (PID is that of a process of that pod; where it \
             has iptables-legacy: iptables-legacy-save)"
                .to_owned(),
        ],
    );
    let effects = BTreeSet::from([Effect::InPod(pod)]);
    judged(finding, RULE.rank, effects.clone(), effects, pod)
}

fn likely(case: &Case<'_>, pod: IpAddr, server: &DnsServer) -> Judged {
    let finding = RULE.finding(
        format!("Queries reach the DNS server {pod}, and it answers none of them"),
        subject(pod),
        case.in_window(),
        vec![
            arrived(case, server),
            "what is dropped inside of pods cannot be read here".to_owned(),
        ],
        vec![
            the_pod(pod),
            "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
            "(the network is fine: a packet filter inside the pod drops them, or the server hangs)"
                .to_owned(),
        ],
    );
    let finding = Finding { confidence: Confidence::Likely, ..finding };
    // Packets for an address that no pod has any more pass the bridge for a while.
    let supports = BTreeSet::from([Effect::Undelivered(pod)]);
    judged(finding, Rank::Inferred, supports, BTreeSet::new(), pod)
}

fn judged(
    finding: Finding,
    rank: Rank,
    supports: BTreeSet<Effect>,
    explains: BTreeSet<Effect>,
    pod: IpAddr,
) -> Judged {
    Judged { finding, rank, supports, explains, as_break: format!("dns {pod}") }
}

fn arrived(case: &Case<'_>, server: &DnsServer) -> String {
    format!(
        "{} of {} queries in {:.1} s came out of the bridge for it (pod_in), and no answer came back",
        unanswered(server),
        server.queries,
        case.evidence.window.seconds
    )
}

fn the_pod(pod: IpAddr) -> String {
    format!("kubectl get pods -A -o wide --field-selector status.podIP={pod}")
}
