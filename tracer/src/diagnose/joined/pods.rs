//! What a node feels of single pods of another: packets that end where those pods are.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    diagnose::{
        blocked::{asks_for_an_answer, name, reverse},
        case::Case,
        dropped::ENOUGH,
        rule::{Effect, Judged},
    },
    evidence::{DropFlow, Flow, StagePair},
};

/// Whether all that is felt is that some flows got no answer, while others did.
pub(super) fn is_of_single_flows(one: &Judged) -> bool {
    one.supports.iter().all(|it| matches!(it, Effect::Loss(_, StagePair::WireToPeer)))
}

/// The pods of which a cause proves that packets are lost where they are.
pub(super) fn lost_at(by: &Judged) -> impl Iterator<Item = IpAddr> {
    by.explains.iter().filter_map(|effect| match effect {
        Effect::InPod(pod) | Effect::AtPort(pod) | Effect::Undelivered(pod) => Some(*pod),
        _ => None,
    })
}

/// To whom a node, of these cases, sent packets to a pod network whose flows got nothing back. Nobody,
/// where not all flows are listed: an answer may be among the others.
pub(super) fn asked_in_vain(cases: &[Case<'_>], cidr: IpNet) -> BTreeSet<IpAddr> {
    let Some(case) = cases.iter().find(|case| case.topology.peer(cidr).is_some()) else {
        return BTreeSet::new();
    };
    let traffic = case.evidence.traffic.as_ref();
    let Some(traffic) = traffic.filter(|it| it.flows_left_out + it.own.flow_evictions == 0) else {
        return BTreeSet::new();
    };
    let came = traffic.flows.iter().filter(|flow| flow.packets.wire_in > 0);
    let came: HashSet<DropFlow> = came.map(name).collect();
    // As they are counted beyond the uplink (`observe::unanswered`).
    let is_in_vain = |flow: &&Flow| {
        cidr.contains(&flow.destination)
            && flow.packets.overlay_out > 0
            && flow.packets.wire_out >= ENOUGH
            && asks_for_an_answer(&name(flow))
            && !came.contains(&reverse(name(flow)))
    };
    traffic.flows.iter().filter(is_in_vain).map(|flow| flow.destination).collect()
}
