//! `dns-service-rules-missing`: nothing on this node translates the address of the cluster's DNS, so
//! queries leave by the default route, for an address that nobody has.
//!
//! The kernel's table of connections proves it: a connection stands there once its first packet has
//! passed all of netfilter, and tells under which address it went on. What is dropped or refused
//! never gets there.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    case::Case,
    dns_servers::{self, next_to_none, of},
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    service_addresses::{is_in_service_network, is_translated_for, may_be_service},
    sighted::{ENOUGH, UDP},
};
use crate::evidence::{DnsServer, Platform, Stage, Untranslated};

pub(super) const RULE: Rule = Rule {
    code: "dns-service-rules-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    for (address, server) in of(case) {
        let Some(lost) = untranslated(case, address, server) else { continue };
        match is_in_service_network(case, address) {
            Some(true) => ruling.judged.push(judged(case, address, server, lost)),
            None if may_be_service(case, address) => ruling.unseen.push(format!(
                "why {} DNS queries to {address} got no answer: nothing on this node translates that \
                 address, and nothing tells whether it is a service's (--service-cidr); if it is, \
                 kube-proxy's rules for it are missing here",
                server.timed_out()
            )),
            Some(false) | None => {}
        }
    }
    ruling
}

/// Queries that nobody answered, and that went on under the address that they were sent to.
///
/// A connection of old may have been opened while the rules were missing for a moment, and keeps its
/// address: so there must be several, as every query has its own.
fn untranslated<'a>(
    case: &Case<'a>,
    address: IpAddr,
    server: &DnsServer,
) -> Option<&'a Untranslated> {
    let traffic = case.evidence.traffic.as_ref()?;
    let is_its = |it: &&Untranslated| {
        (it.destination, it.protocol, it.port) == (address, UDP, dns_servers::PORT)
    };
    let found = traffic.untranslated.iter().find(is_its)?;
    let at_first_stage = server.timeouts.iter().filter(|it| {
        it.query == Stage::PodOut
            && it.answer.is_none()
            && it.endpoint.is_none_or(|it| it == address)
    });
    let lost: u64 = at_first_stage.map(|it| it.queries).sum();
    let answered = server.answered() + server.answered_late();
    let translated = traffic.flows.iter().filter(|flow| is_translated_for(flow, address)).count();
    let is_served = !next_to_none(answered, lost) || !next_to_none(translated as u64, found.flows);
    let tables = case.topology.tables?;
    let is_elsewhere = !tables.is_local(address)
        && !case.topology.is_own(address)
        && case.topology.peer_of(address).is_none();
    (lost >= ENOUGH && found.flows >= ENOUGH && !is_served && is_elsewhere).then_some(found)
}

fn judged(case: &Case<'_>, address: IpAddr, server: &DnsServer, lost: &Untranslated) -> Judged {
    let node = &case.evidence.node;
    let seconds = case.evidence.window.seconds;
    let effect = Effect::ToService(SocketAddr::new(address, dns_servers::PORT));
    let rules = &case.evidence.intent.service_netfilter;
    let read = match rules.as_slice() {
        [] => "this node has neither the chain KUBE-SERVICES nor the table kube-proxy".to_owned(),
        rules => format!("kube-proxy was here: {}", rules.join(", ")),
    };
    Judged {
        finding: RULE.finding(
            format!("Nothing on {} translates the DNS service {address}", node.name),
            dns_servers::subject(address),
            case.in_window(),
            vec![
                format!(
                    "{} of {} queries to {address} timed out in {seconds:.1} s, and {} were answered",
                    server.timed_out(),
                    server.queries,
                    server.answered()
                ),
                format!(
                    "{} packets of {} connections went on to {address} itself, by the kernel's table of \
                     connections, and so left by the default route",
                    lost.packets, lost.flows
                ),
                read,
            ],
            repair(node.platform, &node.name),
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([effect]),
        explains: BTreeSet::from([effect]),
        as_break: format!("dns {address}"),
    }
}

fn repair(platform: Platform, node: &str) -> Vec<String> {
    let here = "(see that kube-proxy runs on this node, and what it logs)".to_owned();
    let unit = match platform {
        Platform::K3sServer => "systemctl restart k3s".to_owned(),
        Platform::K3sAgent => "systemctl restart k3s-agent".to_owned(),
        Platform::Rke2Server | Platform::Rke2Agent => {
            format!("kubectl -n kube-system get pod kube-proxy-{node} -o wide")
        }
        Platform::Talos | Platform::Kubeadm | Platform::Unknown => format!(
            "kubectl -n kube-system delete pod --field-selector spec.nodeName={node} \
             -l k8s-app=kube-proxy"
        ),
    };
    vec![unit, here, "kubectl -n kube-system get service kube-dns".to_owned()]
}
