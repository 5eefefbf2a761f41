//! `fw-drops-forwarded-pod-traffic` at the ports of the bridge: a filter of family bridge or netdev, as
//! ebtables or a CNI plugin writes it, drops what peers send to pods behind the last stage, or what
//! pods send to peers before the first one. No stage misses it: the kernel's word is all there is.
//!
//! A bridge floods what is for a MAC that it has not heard of, and filters drop such copies at the
//! ports of others: a packet that was answered has reached its pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    blocked::{Passed, filtered, is_block},
    case::Case,
    counted::told_of,
    dropped::{Dropped, Way, way},
    firewall::{flows, perhaps_forbidden, show_rules},
    fw_drops_forwarded::RULE,
    rule::{Effect, Judged, Ruling},
};
use crate::{
    evidence::{Drop, DropFlow, Platform},
    topology::Topology,
};

/// How many pods are named.
const NAMED: usize = 3;

/// What the filters of bridge ports drop of the packets between this node's pods and peers.
pub(super) fn ruling(case: &Case<'_>) -> Ruling {
    let passed = Passed::of_pods(case);
    let mut found = filtered(case, |drop| {
        let (pod, flow) = (pod_at_port(case, drop)?, drop.flow?);
        (!passed.knows(flow) || is_vain_answer(&passed, pod, flow)).then_some(pod)
    });
    found.retain(|pod, dropped| {
        is_block(&passed, &dropped.drops) || vain_answers(&passed, *pod, dropped).lasts()
    });
    let Some(judged) = judged(case, &found) else { return Ruling::default() };
    match perhaps_forbidden(case, || format!("why a packet filter dropped {}", judged.as_break)) {
        Some(line) => Ruling { judged: Vec::new(), unseen: vec![line] },
        None => Ruling::from(vec![judged]),
    }
}

/// The pod of this node that sent a packet to a peer's, or was to have one of a peer's, when it was
/// dropped at a port of the bridge.
pub(super) fn pod_at_port(case: &Case<'_>, drop: &Drop) -> Option<IpAddr> {
    let flow = drop.flow?;
    is_port(&case.topology, drop.interface.as_deref()?).then_some(())?;
    let pod = match way(case, drop)? {
        Way::Out(_) => flow.source,
        Way::In(_) => flow.destination,
        _ => return None,
    };
    case.topology.is_own(pod).then_some(pod)
}

/// What a pod answered to peers, where none of its answers passed.
fn vain_answers<'a>(passed: &Passed, pod: IpAddr, dropped: &Dropped<'a>) -> Dropped<'a> {
    let is_vain = |drop: &&Drop| drop.flow.is_some_and(|it| is_vain_answer(passed, pod, it));
    Dropped::of(dropped.drops.iter().copied().filter(is_vain).collect())
}

fn is_vain_answer(passed: &Passed, pod: IpAddr, flow: DropFlow) -> bool {
    flow.source == pod && passed.has_vain_answer(flow)
}

fn is_port(topology: &Topology<'_>, name: &str) -> bool {
    let Some((bridge, tables)) = topology.bridge.zip(topology.tables) else { return false };
    tables.links.iter().any(|link| link.name == name && link.master == Some(bridge.index))
}

fn judged(case: &Case<'_>, found: &BTreeMap<IpAddr, Dropped<'_>>) -> Option<Judged> {
    let bridge = &case.topology.bridge?.name;
    let drops: Vec<&Drop> = found.values().flat_map(|it| &it.drops).copied().collect();
    let ports: BTreeSet<&str> = drops.iter().filter_map(|it| it.interface.as_deref()).collect();
    let place = match Vec::from_iter(ports)[..] {
        [] => return None,
        [port] => port,
        _ => bridge,
    };
    let all = Dropped::of(drops);
    let pods = pods(found);
    let mut evidence = vec![
        told_of(&all, case.evidence.window.seconds),
        format!(
            "at ports of {bridge}, where pods are attached: behind pod_in for what they get, before \
             pod_out for what they send"
        ),
    ];
    evidence.extend(flows(&all.drops));
    let effects: BTreeSet<Effect> = found.keys().copied().map(Effect::AtPort).collect();
    let node = &case.evidence.node.name;
    Some(Judged {
        finding: RULE.finding(
            format!("A firewall of {node} drops packets between {pods} and peers at {place}"),
            case.about_interface(place),
            case.in_window(),
            evidence,
            repair(case),
        ),
        rank: RULE.rank,
        supports: effects.clone(),
        explains: effects,
        as_break: format!("packets between {pods} and peers at {place}"),
    })
}

fn pods(found: &BTreeMap<IpAddr, Dropped<'_>>) -> String {
    let named: Vec<String> = found.keys().take(NAMED).map(IpAddr::to_string).collect();
    match found.len().saturating_sub(NAMED) {
        0 if named.len() == 1 => format!("pod {}", named[0]),
        0 => format!("the pods {}", named.join(", ")),
        more => format!("the pods {} and {more} more", named.join(", ")),
    }
}

fn repair(case: &Case<'_>) -> Vec<String> {
    let what = "a chain of family bridge or netdev that drops; the CNI plugin bridge writes one with \
                its option macspoofchk";
    // iptables has no hooks there.
    let mut lines: Vec<String> = show_rules(case, what).into_iter().take(1).collect();
    if case.evidence.node.platform != Platform::Talos {
        lines.push("ebtables-legacy -L      (its rules are not listed by nft)".to_owned());
    }
    lines
}
