//! What a node feels of single pods of another: packets that end where those pods are.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    diagnose::{
        blocked::{name, reverse},
        case::Case,
        dropped::ENOUGH,
        rule::{Effect, Judged},
    },
    evidence::{DropFlow, Flow},
};

/// Whether all that a node, of these cases, sent to a pod network in vain was for pods of which
/// another node proves with `by` that packets are lost there.
pub(super) fn explain_all_in_vain(by: &Judged, cases: &[Case<'_>], cidr: IpNet) -> bool {
    let lost: BTreeSet<IpAddr> = by.explains.iter().filter_map(pod).collect();
    let asked = asked_in_vain(cases, cidr);
    !asked.is_empty() && asked.is_subset(&lost)
}

const fn pod(effect: &Effect) -> Option<IpAddr> {
    match effect {
        Effect::InPod(pod) | Effect::AtPort(pod) | Effect::Undelivered(pod) => Some(*pod),
        _ => None,
    }
}

/// To whom a node's packets left for a pod network whose flows got nothing back. Nobody, where not all
/// flows are listed: an answer may be among the others.
fn asked_in_vain(cases: &[Case<'_>], cidr: IpNet) -> BTreeSet<IpAddr> {
    let Some(case) = cases.iter().find(|case| case.topology.peer(cidr).is_some()) else {
        return BTreeSet::new();
    };
    let traffic = case.evidence.traffic.as_ref();
    let Some(traffic) = traffic.filter(|it| it.flows_left_out + it.own.flow_evictions == 0) else {
        return BTreeSet::new();
    };
    let came = traffic.flows.iter().filter(|flow| flow.packets.wire_in > 0);
    let came: HashSet<DropFlow> = came.map(name).collect();
    let is_in_vain = |flow: &&Flow| {
        cidr.contains(&flow.destination)
            && flow.packets.overlay_out > 0
            && flow.packets.wire_out >= ENOUGH
            && !came.contains(&reverse(name(flow)))
    };
    traffic.flows.iter().filter(is_in_vain).map(|flow| flow.destination).collect()
}
