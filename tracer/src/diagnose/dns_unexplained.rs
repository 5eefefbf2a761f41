//! DNS servers of the cluster or of this node that do not answer, and nothing proves why: a line for
//! what is unseen.

use std::net::IpAddr;

use super::{
    case::Case,
    dns_servers::{next_to_none, of},
    merge::Cause,
    rule::Effect,
    service_addresses::is_service,
    sighted::ENOUGH,
};
use crate::{
    evidence::{DnsServer, Platform},
    export::dns::lost_after,
};

/// The servers that no finding and none of the other lines speaks of. Whoever else runs a server may
/// keep silent.
pub(super) fn lines(cases: &[Case<'_>], causes: &[Cause], others: &[String]) -> Vec<String> {
    let servers = cases.iter().flat_map(|case| of(case).map(move |it| (case, it)));
    let open = servers.filter(|(case, (address, server))| {
        is_silent(server)
            && if is_of_node(case, *address) {
                !blocks_pods(causes)
            } else {
                is_of_cluster(case, *address)
            }
            && !is_told(causes, *address, server)
            && !others.iter().any(|line| line.contains(&format!(" {address} ")))
    });
    open.filter_map(|(case, (address, server))| {
        let stage = lost_after(server)?.name();
        let lost = server.timed_out();
        let why =
            format!("why {lost} DNS queries to {address} got no answer: {stage} saw them last");
        Some(format!("{why}; {}", next(case, address)))
    })
    .collect()
}

fn is_silent(server: &DnsServer) -> bool {
    let lost = server.timed_out();
    lost >= ENOUGH && next_to_none(server.answered() + server.answered_late(), lost)
}

fn is_of_cluster(case: &Case<'_>, address: IpAddr) -> bool {
    let topology = &case.topology;
    is_service(case, address) == Some(true)
        || topology.is_own(address)
        || topology.peer_of(address).is_some()
}

fn is_of_node(case: &Case<'_>, address: IpAddr) -> bool {
    case.topology.tables.is_some_and(|tables| tables.is_of_node(address))
}

/// Whether a finding is about a server or what stands behind it, or breaks it.
fn is_told(causes: &[Cause], address: IpAddr, server: &DnsServer) -> bool {
    let mut its = server.endpoints();
    its.push(address);
    causes.iter().map(|cause| &cause.judged.finding).any(|finding| {
        finding.subject.address.is_some_and(|it| its.contains(&it))
            || its.iter().any(|it| finding.breaks.contains(&format!("dns {it}")))
    })
}

/// Whether a finding is that a filter keeps this node's pods from it.
fn blocks_pods(causes: &[Cause]) -> bool {
    let mut effects = causes.iter().flat_map(|cause| &cause.judged.explains);
    effects.any(|effect| matches!(effect, Effect::ToNode(_)))
}

/// What shows more.
fn next(case: &Case<'_>, address: IpAddr) -> String {
    let node = &case.evidence.node;
    let rules = match node.platform {
        Platform::Talos => {
            format!("`talosctl --nodes {} get nftableschain -o yaml` shows", node.name)
        }
        _ => "`nft list ruleset` and `iptables-save` show".to_owned(),
    };
    if is_of_node(case, address) {
        let listens = listeners(case);
        format!(
            "the address is this node's own (NodeLocal DNS, or a server in the host's network): \
             `{listens}` shows whether one listens, and {rules} what becomes of them"
        )
    } else {
        format!(
            "a check on the server's node sees more, and here {rules} what becomes of them (notrack keeps \
             kube-proxy from translating)"
        )
    }
}

/// The command that lists who listens at UDP ports of the node.
pub(super) fn listeners(case: &Case<'_>) -> String {
    let node = &case.evidence.node;
    match node.platform {
        Platform::Talos => format!("talosctl --nodes {} netstat --listening --udp", node.name),
        _ => "ss -ulpn 'sport = :53'".to_owned(),
    }
}
