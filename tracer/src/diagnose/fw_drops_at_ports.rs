//! `fw-drops-forwarded-pod-traffic` where pods are attached: a filter of family bridge or netdev, as
//! ebtables or a CNI plugin writes it, drops what peers send to pods behind the last stage, or what
//! pods send to peers before the first one. No stage misses it: the kernel's word is all there is.
//!
//! A bridge floods what is for a MAC that it has not heard of, and filters drop such copies at the
//! ports of others. So on the way to a pod only what asks for an answer and got none proves a loss.
//! Answers to what a pod itself asked look like copies and prove nothing.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    blocked::{Passed, asks_for_an_answer, filtered_as, is_block},
    bridge_ports::{is_at_port, pod_of},
    case::Case,
    counted::told_of,
    dropped::Dropped,
    firewall::{flows, show_rules},
    fw_drops_forwarded::RULE,
    rule::{Effect, Judged, Ruling},
};
use crate::evidence::{Drop, DropFlow, Platform};

/// How many pods are named.
const NAMED: usize = 3;

/// What filters dropped at the ports of the bridge, by pod.
type Found<'a> = BTreeMap<IpAddr, Dropped<'a>>;

/// What the filters of bridge ports drop of the packets between this node's pods and peers.
pub(super) fn ruling(case: &Case<'_>) -> Ruling {
    let (lost, open) = found(case);
    // Network policies have no hooks there: what is dropped is not what they forbid.
    Ruling { judged: Vec::from_iter(judged(case, &lost)), unseen: Vec::from_iter(undecided(&open)) }
}

/// What tells of a drop whether it is at the port of a pod that is told of here: one filter is one
/// finding, wherever the packets go.
pub(super) fn telling<'c, 'a>(case: &'c Case<'a>) -> impl Fn(&Drop) -> bool + use<'c, 'a> {
    let (pods, _) = found(case);
    move |drop| drop.flow.is_some_and(|it| pods.contains_key(&it.source)) && is_at_port(case, drop)
}

/// What is lost, and what may be copies.
fn found<'a>(case: &Case<'a>) -> (Found<'a>, Found<'a>) {
    let passed = Passed::of_pods(case);
    let knows_flows = passed.is_complete && case.evidence.traffic.is_some();
    let (mut lost, mut open) = (Found::new(), Found::new());
    for (pod, dropped) in filtered_as(case, |drop| pod_of(case, drop)) {
        match proven(&passed, pod, &dropped).filter(|_| knows_flows) {
            Some(proven) => lost.insert(pod, proven),
            None => open.insert(pod, dropped),
        };
    }
    (lost, open)
}

/// Those of a pod's drops that prove a loss together.
fn proven<'a>(passed: &Passed, pod: IpAddr, dropped: &Dropped<'a>) -> Option<Dropped<'a>> {
    let drops = dropped.drops.iter().copied();
    let meant = Dropped::of(drops.filter(|drop| may_prove(passed, pod, drop)).collect());
    let is_proof = is_block(passed, &meant.drops) || vain_answers(passed, pod, &meant).lasts();
    is_proof.then_some(meant)
}

/// Whether a drop says that something of the pod's is lost: it is no copy and no late segment.
fn may_prove(passed: &Passed, pod: IpAddr, drop: &Drop) -> bool {
    drop.flow.is_some_and(|flow| match flow.source == pod {
        true => !passed.knows(flow) || passed.has_vain_answer(flow),
        false => !passed.knows(flow) && asks_for_an_answer(&flow),
    })
}

/// What a pod answered to peers, where none of its answers passed.
fn vain_answers<'a>(passed: &Passed, pod: IpAddr, dropped: &Dropped<'a>) -> Dropped<'a> {
    let is_vain = |flow: DropFlow| flow.source == pod && passed.has_vain_answer(flow);
    let answers = dropped.drops.iter().copied();
    Dropped::of(answers.filter(|drop| drop.flow.is_some_and(is_vain)).collect())
}

fn undecided(open: &Found<'_>) -> Option<String> {
    let packets: u64 = open.values().map(|it| it.packets).sum();
    (packets > 0).then(|| {
        format!(
            "whether {packets} packets of {}, which a packet filter dropped at ports of the bridge, \
             were lost or copies that the bridge had flooded",
            named(open)
        )
    })
}

fn judged(case: &Case<'_>, lost: &Found<'_>) -> Option<Judged> {
    let bridge = &case.topology.bridge?.name;
    let drops: Vec<&Drop> = lost.values().flat_map(|it| &it.drops).copied().collect();
    if drops.is_empty() {
        return None;
    }
    let (all, pods) = (Dropped::of(drops), named(lost));
    let mut evidence = vec![
        told_of(&all, case.evidence.window.seconds),
        "no stage sees that place: packets to pods have passed pod_in before it, packets of pods do \
         not reach pod_out"
            .to_owned(),
    ];
    evidence.extend(flows(&all.drops));
    let node = &case.evidence.node.name;
    let own = lost.keys().map(|pod| Effect::AtPort(*pod));
    // The same filter, told once.
    let more = lost.keys().flat_map(|pod| [Effect::ToNode(*pod), Effect::Outside(*pod)]);
    Some(Judged {
        finding: RULE.finding(
            format!(
                "A firewall of {node} drops packets between {pods} and peers where {bridge} has its \
                 ports"
            ),
            case.about_interface(bridge),
            case.in_window(),
            evidence,
            repair(case),
        ),
        rank: RULE.rank,
        supports: own.clone().collect(),
        explains: own.chain(more).collect(),
        as_break: format!("packets between {pods} and peers at the ports of {bridge}"),
    })
}

fn named(found: &Found<'_>) -> String {
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
        lines.push("ebtables-legacy-save      (its rules are not listed by nft)".to_owned());
    }
    lines
}
