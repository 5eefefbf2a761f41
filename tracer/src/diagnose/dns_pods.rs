//! DNS servers in pods of this node: which queries came to them, and what dropped these there.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    blocked::{Passed, is_block},
    case::Case,
    dns_servers::{PORT, UDP, of},
    dropped::{Dropped, Dropper, Told, drops, lasting, told},
};
use crate::evidence::{DnsServer, Drop, DropPlace, Stage};

/// Queries of which one in so many at least is lost.
const ONE_IN: u64 = 10;

/// The servers that are pods of this node.
pub(super) fn here<'a>(case: &Case<'a>) -> impl Iterator<Item = (IpAddr, &'a DnsServer)> {
    of(case).filter(move |(address, _)| {
        let is_local = case.topology.tables.is_some_and(|tables| tables.is_local(*address));
        case.topology.is_own(*address) && !is_local
    })
}

/// Queries that came out of the bridge for a server here, and to which no stage saw an answer.
pub(super) fn unanswered(server: &DnsServer) -> u64 {
    let arrived = server.timeouts.iter().filter(|it| it.query == Stage::PodIn);
    arrived.filter(|it| it.answer.is_none()).map(|it| it.queries).sum()
}

/// The pods whose packet filter drops queries and nothing else of what comes from peers, as far as the
/// queries' clients feel it. One that drops more is no fault of DNS alone.
pub(super) fn filtered<'a>(case: &Case<'a>) -> BTreeMap<IpAddr, Dropped<'a>> {
    let passed = Passed::of_pods(case);
    let mut found = lasting(case, |drop| queried(case, drop, Dropper::Firewall).map(|it| it.0));
    found.retain(|pod, dropped| {
        let is_felt = here(case).any(|(address, server)| {
            let lost = unanswered(server);
            address == *pod && lost > 0 && lost * ONE_IN >= server.queries
        });
        is_felt && is_block(&passed, &dropped.drops) && !drops_more(case, *pod)
    });
    found
}

/// Whether the pod's packet filter drops anything but queries to it.
fn drops_more(case: &Case<'_>, pod: IpAddr) -> bool {
    let is_other = |drop: &Drop| {
        let flow = drop.flow.filter(|_| drop.place == DropPlace::Pod);
        flow.is_some_and(|flow| flow.destination == pod && flow.destination_port != PORT)
            && told(drop, Dropper::Firewall).is_some()
    };
    drops(case).any(is_other)
}

/// The pod of this node in which a query of another node was dropped by this, and how that is told.
pub(super) fn queried(case: &Case<'_>, drop: &Drop, dropper: Dropper) -> Option<(IpAddr, Told)> {
    let flow = drop.flow.filter(|_| drop.place == DropPlace::Pod)?;
    let is_query = (flow.protocol, flow.destination_port) == (UDP, PORT);
    let is_from_peer =
        case.topology.is_own(flow.destination) && case.topology.peer_of(flow.source).is_some();
    let told = told(drop, dropper).filter(|_| is_query && is_from_peer)?;
    Some((flow.destination, told))
}
