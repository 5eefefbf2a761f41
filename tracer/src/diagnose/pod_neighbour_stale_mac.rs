//! `pod-neighbour-stale-mac`: the bridge's neighbour entry for a pod has a MAC that is not the pod's.
//! The bridge floods such frames to all its ports, and the pod's own kernel takes them for another's.
//!
//! A bridge also floods, to all, frames whose MAC is right: when it has not heard of it for a while.
//! The pod takes those. So what other pods refuse proves nothing; what the pod with the address
//! refuses does.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::Case,
    counted::told_of,
    dropped::{Dropped, Dropper, lasting, told},
    finding::{Confidence, Severity, Subject, SubjectKind},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::sightings,
};
use crate::evidence::{Drop, DropPlace, Link, MacAddress, Neighbour, NeighbourState, Sight};

pub(super) const RULE: Rule = Rule {
    code: "pod-neighbour-stale-mac",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

/// What is wrong with one pod's entry.
struct Stale<'a> {
    pod: IpAddr,
    bridge: &'a Link,
    entry: &'a Neighbour,
    /// The MAC of the entry.
    wrong: MacAddress,
    /// The MAC that the pod itself claims, where that was heard.
    right: Option<MacAddress>,
}

fn judge(case: &Case<'_>) -> Ruling {
    let found = lasting(case, |drop| refused_by(case, drop));
    let judged = found
        .iter()
        .filter_map(|(pod, dropped)| Some(judged(case, &Stale::of(case, *pod)?, dropped)));
    Ruling::from(judged.collect::<Vec<_>>())
}

/// The pod that refused a packet for its own address which this node had sent or passed on: the
/// header that another drop of that function may be about was read by the node before.
fn refused_by(case: &Case<'_>, drop: &Drop) -> Option<IpAddr> {
    let flow = drop.flow.filter(|_| drop.place == DropPlace::Pod)?;
    told(drop, Dropper::OtherMac)?;
    let topology = &case.topology;
    // What pods of one bridge send each other has the MAC that the sender knows.
    let is_by_node = !topology.is_own(flow.source) || topology.tables?.is_local(flow.source);
    (topology.is_own(flow.destination) && is_by_node).then_some(flow.destination)
}

fn judged(case: &Case<'_>, stale: &Stale<'_>, dropped: &Dropped<'_>) -> Judged {
    let Stale { pod, bridge, wrong, .. } = stale;
    let seconds = case.evidence.window.seconds;
    let name = &bridge.name;
    let heals = if stale.entry.state == NeighbourState::Permanent {
        "(the entry is permanent: somebody wrote it, and the kernel never asks for that MAC again)"
    } else {
        "(the kernel does so by itself when the entry is no longer confirmed, mostly in a minute)"
    };
    Judged {
        finding: RULE.finding(
            format!("{name} sends to pod {pod} by the MAC {wrong}, which the pod does not have"),
            Subject {
                kind: SubjectKind::Flow,
                key: pod.to_string(),
                address: Some(*pod),
                cidr: case.topology.own_cidrs.iter().find(|it| it.contains(pod)).copied(),
                ..case.about_interface(name)
            },
            case.in_window(),
            vec![
                stale.told(),
                format!(
                    "in the network namespace of the pod, as frames for another MAC, {}",
                    told_of(dropped, seconds)
                ),
            ],
            vec![
                format!(
                    "{} neigh del {pod} dev {name}      (the next packet asks for the MAC anew)",
                    remedy::ip(case.topology.family)
                ),
                heals.to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::InPod(*pod)]),
        explains: BTreeSet::from([Effect::InPod(*pod), Effect::Undelivered(*pod)]),
        as_break: format!("pod {pod}"),
    }
}

// === impl Stale ===

impl<'a> Stale<'a> {
    /// The entry by which the bridge sends to a pod, unless somebody claims the address for its MAC:
    /// then two have it.
    fn of(case: &Case<'a>, pod: IpAddr) -> Option<Self> {
        let (bridge, tables) = (case.topology.bridge?, case.topology.tables?);
        let mut entries = tables.neighbours.iter();
        let entry = entries.find(|it| it.ifindex == bridge.index && it.address == pod)?;
        let wrong = entry.mac.filter(|_| entry.state.is_valid())?;
        let claims: BTreeSet<MacAddress> = claims(case, bridge, pod).collect();
        let right = claims.first().copied().filter(|_| claims.len() == 1);
        (!claims.contains(&wrong)).then_some(Self { pod, bridge, entry, wrong, right })
    }

    fn told(&self) -> String {
        let state = format!("{:?}", self.entry.state).to_uppercase();
        let Self { pod, bridge, wrong, .. } = self;
        let right = match self.right {
            Some(right) => format!(", and the pod itself claims the address for {right}"),
            None => String::new(),
        };
        format!(
            "the neighbour entry of {pod} on {} has the MAC {wrong} ({state}){right}",
            bridge.name
        )
    }
}

/// The MACs that were claimed for an address on the bridge.
fn claims(case: &Case<'_>, bridge: &Link, pod: IpAddr) -> impl Iterator<Item = MacAddress> {
    let at_bridge = sightings(case).filter(|it| it.interface == bridge.name);
    at_bridge.filter_map(move |sighting| match sighting.what {
        Sight::Claim { address, mac } if address == pod => Some(mac),
        _ => None,
    })
}
