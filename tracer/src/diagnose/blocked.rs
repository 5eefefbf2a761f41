//! What a packet filter blocks, among what it drops.
//!
//! Filters of healthy nodes drop what belongs to no connection (conntrack's INVALID, which
//! kube-proxy, firewalld and ufw all refuse): the last segments of TCP connections, answers to nobody.
//! So plain packets prove a block only when they ask for something, and TCP only when several
//! connections to one port are tried and nothing of it passes.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use super::{
    case::Case,
    dns_servers,
    dropped::{Dropped, Dropper, ENOUGH, lasting, told},
    missing::missed,
    sighted::{Refusal, UDP, error_of, refusal, sightings},
};
use crate::{
    evidence::{Drop, DropFlow, Flow, IcmpError, StagePair},
    topology::Peer,
};

/// IANA's protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// Types of echo requests and of their replies (RFC 792, RFC 4443).
const ECHO: [(u8, u16, u16); 2] = [(ICMP, 8, 0), (ICMPV6, 128, 129)];

/// What the flow table knows to have passed.
pub(super) struct Passed {
    /// Flows whose packets went beyond where a filter of this node drops.
    arrived: HashSet<DropFlow>,
    /// Flows of which anything was seen.
    seen: HashSet<DropFlow>,
    /// Who sent something: an address, a protocol, and the port where it has one.
    senders: HashSet<(IpAddr, u8, u16)>,
    /// To whom something was delivered in a pod, in the same words: of a service, whose address an
    /// answer has again by then, the end in the pod is the one that a drop names too.
    heard: HashSet<(IpAddr, u8, u16)>,
    /// No flow is missing of which the above tells.
    pub(super) is_complete: bool,
}

/// Everything that a packet filter dropped, by what `name` makes of it, as far as it holds on.
///
/// Connection tracking drops by the same function and reason what finds no room in its table, and
/// what loses a race: it must be outnumbered.
pub(super) fn filtered<'a, K: Ord>(
    case: &Case<'a>,
    name: impl Fn(&'a Drop) -> Option<K>,
) -> BTreeMap<K, Dropped<'a>> {
    filtered_as(case, |drop| {
        told(drop, Dropper::Firewall)?;
        name(drop)
    })
}

/// The same where `name` knows itself what a filter dropped.
pub(super) fn filtered_as<'a, K: Ord>(
    case: &Case<'a>,
    name: impl Fn(&'a Drop) -> Option<K>,
) -> BTreeMap<K, Dropped<'a>> {
    let conntrack = case.evidence.statistics.as_ref().and_then(|it| it.conntrack);
    let by_conntrack = conntrack.map_or(0, |it| it.dropped + it.insert_failed);
    let mut found = lasting(case, name);
    found.retain(|_, dropped| dropped.packets > 2 * by_conntrack);
    found
}

/// The same of plain packets, where it is a block.
pub(super) fn blocked<'a, K: Ord>(
    case: &Case<'a>,
    passed: &Passed,
    name: impl Fn(&'a Drop) -> Option<K>,
) -> BTreeMap<K, Dropped<'a>> {
    let mut found = filtered(case, name);
    found.retain(|_, dropped| is_block(passed, &dropped.drops));
    found
}

/// Whether drops of a filter are more than what belongs to no connection.
pub(super) fn is_block(passed: &Passed, drops: &[&Drop]) -> bool {
    let of = |is_meant: fn(&DropFlow) -> bool| {
        let meant = drops.iter().filter(move |drop| drop.flow.as_ref().is_some_and(is_meant));
        meant.copied().collect::<Vec<_>>()
    };
    Dropped::of(of(asks)).lasts() || has_attempts(passed, &of(|flow| flow.protocol == TCP))
}

/// Datagrams and echo requests: conntrack takes them for the first of a connection at any time.
fn asks(flow: &DropFlow) -> bool {
    flow.protocol == UDP || is_echo_request(flow)
}

/// What is answered by whoever gets it. Datagrams of most services may be meant for nobody's answer.
pub(super) fn asks_for_an_answer(flow: &DropFlow) -> bool {
    match flow.protocol {
        TCP => true,
        UDP => flow.destination_port == dns_servers::PORT,
        _ => is_echo_request(flow),
    }
}

fn is_echo_request(flow: &DropFlow) -> bool {
    let is_its = |(protocol, request, _)| (flow.protocol, flow.source_port) == (protocol, request);
    ECHO.into_iter().any(is_its)
}

/// Whether several connections to one port were tried, some of them late, and nothing of it passed.
fn has_attempts(passed: &Passed, segments: &[&Drop]) -> bool {
    // The answer may be among what is not listed.
    if !passed.is_complete {
        return false;
    }
    let mut by_port = BTreeMap::<(IpAddr, u16), Vec<&Drop>>::new();
    for (flow, drop) in segments.iter().filter_map(|drop| Some((drop.flow?, *drop))) {
        if !passed.knows(flow) && !passed.answers(flow) {
            by_port.entry((flow.destination, flow.destination_port)).or_default().push(drop);
        }
    }
    let are_attempts = |drops: &Vec<&Drop>| {
        let flows: BTreeSet<Option<DropFlow>> = drops.iter().map(|drop| drop.flow).collect();
        let is_late = |drop: &&Drop| drop.early == 0;
        flows.len() as u64 >= ENOUGH
            && drops.iter().any(is_late)
            && Dropped::of(drops.clone()).lasts()
    };
    by_port.values().any(are_attempts)
}

/// Whether the stages say the same of a peer's packets, where they are seen: half of what is lost
/// there at least was dropped.
pub(super) fn stages_agree(
    case: &Case<'_>,
    peer: &Peer<'_>,
    pair: StagePair,
    dropped: &Dropped<'_>,
) -> bool {
    !sees(case, peer, pair)
        || lost_at(case, peer, pair).is_some_and(|lost| dropped.packets * 2 >= lost)
}

/// Packets of a peer that are lost between two stages, as far as none can pass there unseen.
pub(super) fn lost_at(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> Option<u64> {
    missed(case, peer, pair).filter(|_| sees(case, peer, pair))
}

/// Whether packets of a peer were counted at both stages.
fn sees(case: &Case<'_>, peer: &Peer<'_>, pair: StagePair) -> bool {
    let is_hidden = pair.next().is_some_and(|next| case.may_be_hidden(next));
    peer.traffic.is_some() && case.observed_pair(pair) && !is_hidden
}

/// ICMP errors by which this node itself refuses what its pods send.
pub(super) fn own_refusals<'c, 'a: 'c>(
    case: &'c Case<'a>,
) -> impl Iterator<Item = (IcmpError, Refusal)> + use<'c, 'a> {
    let bridge = case.topology.bridge;
    let at_bridge =
        sightings(case).filter(move |it| bridge.is_some_and(|link| link.name == it.interface));
    let is_own = |error: &IcmpError| {
        case.topology.tables.is_some_and(|tables| tables.is_local(error.sender))
    };
    let refusals = at_bridge.filter_map(error_of).filter(is_own);
    refusals.filter_map(|error| Some((error, refusal(&error)?)))
}

/// Whether this node answers such a packet with "port unreachable". So kube-proxy refuses what is
/// for a service without endpoints, by an address of its own or by a port of the node.
pub(super) fn is_refused_as_closed(case: &Case<'_>, flow: &DropFlow) -> bool {
    own_refusals(case).any(|(IcmpError { quoted, .. }, refusal)| {
        refusal == Refusal::Port
            && (quoted.destination, quoted.protocol, quoted.destination_port)
                == (flow.destination, flow.protocol, flow.destination_port)
    })
}

// === impl Passed ===

impl Passed {
    /// By the flows of the window.
    pub(super) fn of(case: &Case<'_>) -> Self {
        let flows = || case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
        let arrived = flows().filter(|flow| {
            let packets = &flow.packets;
            packets.overlay_out + packets.wire_out + packets.pod_in > 0
        });
        let sender = |flow: &Flow| (flow.source, flow.protocol, flow.source_port);
        let delivered = flows().filter(|flow| flow.packets.pod_in > 0);
        let receiver = |flow: &Flow| (flow.destination, flow.protocol, flow.destination_port);
        let traffic = case.evidence.traffic.as_ref();
        let is_whole = traffic.is_none_or(|it| it.flows_left_out + it.own.flow_evictions == 0);
        Self {
            arrived: arrived.map(name).collect(),
            seen: flows().map(name).collect(),
            senders: flows().map(sender).collect(),
            heard: delivered.map(receiver).collect(),
            is_complete: is_whole,
        }
    }

    /// The same for what drops behind all stages, in pods: only answers tell of it.
    pub(super) fn of_pods(case: &Case<'_>) -> Self {
        Self { arrived: HashSet::new(), ..Self::of(case) }
    }

    /// Whether packets of a flow passed, or answers to it.
    pub(super) fn knows(&self, flow: DropFlow) -> bool {
        self.arrived.contains(&flow) || self.seen.contains(&reverse(flow))
    }

    /// Whether a flow answers what was seen, and nothing passed from where it comes from.
    pub(super) fn has_vain_answer(&self, flow: DropFlow) -> bool {
        self.seen.contains(&reverse(flow))
            && !self.senders.contains(&(flow.source, flow.protocol, flow.source_port))
    }

    /// Whether anything came from where a flow goes to, or to where it comes from.
    fn answers(&self, flow: DropFlow) -> bool {
        self.senders.contains(&(flow.destination, flow.protocol, flow.destination_port))
            || self.heard.contains(&(flow.source, flow.protocol, flow.source_port))
    }
}

/// The flow, as drops name it.
pub(super) const fn name(flow: &Flow) -> DropFlow {
    let Flow { source, destination, protocol, source_port, destination_port, .. } = *flow;
    DropFlow { source, destination, protocol, source_port, destination_port }
}

/// The flow of the answers, or of what was answered.
pub(super) fn reverse(flow: DropFlow) -> DropFlow {
    let other = |(protocol, request, reply): (u8, u16, u16)| match flow.source_port {
        _ if flow.protocol != protocol => None,
        kind if kind == request => Some(reply),
        kind if kind == reply => Some(request),
        _ => None,
    };
    let (source_port, destination_port) = ECHO.into_iter().find_map(other).map_or(
        (flow.destination_port, flow.source_port),
        // An echo's identifier stands where others have the port of the other end.
        |kind| (kind, flow.destination_port),
    );
    let (source, destination) = (flow.destination, flow.source);
    DropFlow { source, destination, source_port, destination_port, ..flow }
}
