//! `dns-service-rules-missing`: nothing on this node translates the address of the cluster's DNS, so
//! queries leave by the default route, for an address that nobody has, or are dropped under it.
//!
//! The kernel's table of connections proves it: a connection stands there once its first packet has
//! passed all of netfilter, and tells under which address it went on. What is dropped or refused never
//! gets there. Of that kube-proxy's rules prove it, none of which names the address: in nftables mode
//! kube-proxy itself drops what is for addresses of the service network that no service has.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    blocked::filtered,
    case::Case,
    dns_servers::{self, next_to_none, of},
    dropped::Dropped,
    finding::{Confidence, Finding, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    service_addresses::{is_in_service_network, is_translated_for, may_be_service},
    sighted::{ENOUGH, UDP, error_of, sightings},
};
use crate::evidence::{
    DnsServer, Drop, DropPlace, IcmpError, Platform, Stage, Traffic, Untranslated,
};

pub(super) const RULE: Rule = Rule {
    code: "dns-service-rules-missing",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// What proves that queries keep their address.
enum Proof<'a> {
    /// They went on under it.
    WentOn(&'a Untranslated),
    /// A packet filter dropped them. Where no rule of kube-proxy names it, it is nobody's address, or
    /// kube-proxy is behind; else that was before kube-proxy's rules got them.
    Dropped { lost: Dropped<'a>, is_named: bool },
}

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    for (address, server) in of(case) {
        let Some(proof) = untranslated(case, address, server) else { continue };
        let timed_out = server.timed_out();
        if let Proof::Dropped { lost, is_named: true } = &proof {
            ruling.unseen.push(format!(
                "why {timed_out} DNS queries to {address} got no answer: a packet filter dropped them \
                 ({}) before kube-proxy, which has rules for that address, got them",
                lost.by()
            ));
            continue;
        }
        match is_in_service_network(case, address) {
            Some(true) => ruling.judged.push(judged(case, address, server, &proof)),
            None if may_be_service(case, address) => ruling.unseen.push(format!(
                "why {timed_out} DNS queries to {address} got no answer: {}, and nothing tells whether \
                 that is a service's address (--service-cidr); if it is, kube-proxy's rules for it are \
                 missing here",
                kept(address, &proof)
            )),
            Some(false) | None => {}
        }
    }
    ruling
}

/// Queries that nobody answered, and that kept the address that they were sent to.
///
/// A connection of old may have been opened while the rules were missing for a moment, and keeps its
/// address: so there must be several, as every query has its own.
fn untranslated<'a>(case: &Case<'a>, address: IpAddr, server: &DnsServer) -> Option<Proof<'a>> {
    let traffic = case.evidence.traffic.as_ref()?;
    let at_first_stage = server.timeouts.iter().filter(|it| {
        it.query == Stage::PodOut
            && it.answer.is_none()
            && it.endpoint.is_none_or(|it| it == address)
    });
    let lost: u64 = at_first_stage.map(|it| it.queries).sum();
    let answered = server.answered() + server.answered_late();
    let tables = case.topology.tables?;
    let is_elsewhere = !tables.is_local(address)
        && !case.topology.is_own(address)
        && case.topology.peer_of(address).is_none();
    if lost < ENOUGH || !next_to_none(answered, lost) || !is_elsewhere {
        return None;
    }
    let translated = traffic.flows.iter().filter(|flow| is_translated_for(flow, address)).count();
    went_on(traffic, address)
        .filter(|found| next_to_none(translated as u64, found.flows))
        .map(Proof::WentOn)
        .or_else(|| dropped(case, address, server))
}

/// What the table of connections knows of queries that went on.
fn went_on(traffic: &Traffic, address: IpAddr) -> Option<&Untranslated> {
    let is_its = |it: &&Untranslated| {
        (it.destination, it.protocol, it.port) == (address, UDP, dns_servers::PORT)
    };
    traffic.untranslated.iter().find(is_its).filter(|it| it.flows >= ENOUGH)
}

/// What a packet filter dropped of queries, where kube-proxy is here and was asked for the address.
fn dropped<'a>(case: &Case<'a>, address: IpAddr, server: &DnsServer) -> Option<Proof<'a>> {
    let is_named = server.has_service_rules?;
    let is_query = |drop: &Drop| {
        let flow = drop.flow.filter(|_| drop.place == DropPlace::Node)?;
        let to = (flow.destination, flow.protocol, flow.destination_port);
        (to == (address, UDP, dns_servers::PORT)).then_some(())
    };
    // Who refuses them knows the address.
    let quotes = |error: IcmpError| {
        (error.quoted.destination, error.quoted.destination_port) == (address, dns_servers::PORT)
    };
    let is_refused = sightings(case).filter_map(error_of).any(quotes);
    let has_proxy = !case.evidence.intent.service_netfilter.is_empty();
    let lost = filtered(case, is_query).remove(&()).filter(|_| has_proxy && !is_refused)?;
    Some(Proof::Dropped { lost, is_named })
}

fn judged(case: &Case<'_>, address: IpAddr, server: &DnsServer, proof: &Proof<'_>) -> Judged {
    let seconds = case.evidence.window.seconds;
    let effect = Effect::ToService(SocketAddr::new(address, dns_servers::PORT));
    let rules = &case.evidence.intent.service_netfilter;
    let read = match rules.as_slice() {
        [] => "this node has neither the chain KUBE-SERVICES nor the table kube-proxy".to_owned(),
        rules => format!("kube-proxy was here: {}", rules.join(", ")),
    };
    let lines = vec![
        format!(
            "{} of {} queries to {address} timed out in {seconds:.1} s, and {} were answered",
            server.timed_out(),
            server.queries,
            server.answered()
        ),
        kept(address, proof),
        read,
    ];
    Judged {
        finding: finding(case, address, proof, lines),
        rank: RULE.rank,
        supports: BTreeSet::from([effect]),
        explains: BTreeSet::from([effect]),
        as_break: format!("dns {address}"),
    }
}

/// Dropped queries leave open which is behind: the address, or kube-proxy.
fn finding(case: &Case<'_>, address: IpAddr, proof: &Proof<'_>, lines: Vec<String>) -> Finding {
    let node = &case.evidence.node;
    let about = dns_servers::subject(address);
    let mut remedy = repair(node.platform, &node.name);
    if let Proof::WentOn(_) = proof {
        let title = format!("Nothing on {} translates the DNS service {address}", node.name);
        return RULE.finding(title, about, case.in_window(), lines, remedy);
    }
    let title = format!("Pods of {} ask {address}, which is no service's there", node.name);
    let first = [
        format!("kubectl get services -A -o wide | grep -w {address}"),
        "(if it is none: kubelet's clusterDNS, and pods that were told another address before; if it \
         is one, kube-proxy is behind:)"
            .to_owned(),
    ];
    remedy.splice(0..0, first);
    let told = RULE.finding(title, about, case.in_window(), lines, remedy);
    Finding { confidence: Confidence::Likely, ..told }
}

/// That queries kept their address, and what became of them.
fn kept(address: IpAddr, proof: &Proof<'_>) -> String {
    match proof {
        Proof::WentOn(lost) => format!(
            "{} packets of {} connections went on to {address} itself, by the kernel's table of \
             connections, and so left by the default route",
            lost.packets, lost.flows
        ),
        Proof::Dropped { lost, .. } => format!(
            "{} packets to {address} itself were dropped ({}), and no rule of kube-proxy here names it",
            lost.packets,
            lost.by()
        ),
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
