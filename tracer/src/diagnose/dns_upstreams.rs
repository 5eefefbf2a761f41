//! Which DNS servers of this node hand on what others tell them: CoreDNS asks its upstream, and behind
//! a service's address answers a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{case::Case, dns_servers::PORT, sighted::UDP};
use crate::evidence::{DnsServer, Flow};

/// For each of these servers those of the others that it asks, or that those ask.
pub(super) fn upstreams(
    case: &Case<'_>,
    servers: &[(IpAddr, &DnsServer)],
) -> BTreeMap<IpAddr, BTreeSet<IpAddr>> {
    let names = || servers.iter().map(|(address, _)| *address);
    let asked = |server: &(IpAddr, &DnsServer)| {
        names().filter(|other| *other != server.0 && asks(case, *server, *other)).collect()
    };
    let mut upstreams: BTreeMap<IpAddr, BTreeSet<IpAddr>> =
        servers.iter().map(|server| (server.0, asked(server))).collect();
    // One step further each time; none is farther than there are servers.
    for _ in servers {
        let known = upstreams.clone();
        for asked in upstreams.values_mut() {
            let further = asked.iter().flat_map(|it| &known[it]).copied();
            let further: Vec<IpAddr> = further.collect();
            asked.extend(further);
        }
    }
    for (server, asked) in &mut upstreams {
        asked.remove(server);
    }
    upstreams
}

/// Whether `other` is the pod behind a server's address, or is asked by that pod.
fn asks(case: &Case<'_>, (address, server): (IpAddr, &DnsServer), other: IpAddr) -> bool {
    let mut pods = server.endpoints();
    pods.push(address);
    let is_question = |flow: &&Flow| {
        let asked = flow.asked_as.map_or(flow.destination, |it| it.ip());
        (flow.protocol, flow.destination_port) == (UDP, PORT)
            && (asked == other || flow.destination == other)
    };
    let questions = case.evidence.traffic.iter().flat_map(|it| &it.flows).filter(is_question);
    let mut of_pods = questions.filter(|flow| pods.contains(&flow.source));
    pods.contains(&other) || of_pods.any(|flow| case.topology.is_own(flow.source))
}
