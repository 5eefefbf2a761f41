//! `pod-policy-drops`: packets of peers reach a pod of this node, and a packet filter inside it drops
//! them: of a service mesh's sidecar, or the pod's own.
//!
//! Such filters also drop what conntrack has no use for, as the late end of a connection: what the
//! pod has answered proves nothing. Packets that never left the node pass no stage and prove nothing
//! either. A filter that drops DNS queries alone is told as such.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    blocked::{Passed, is_block},
    case::Case,
    counted::told_of,
    dns_pods,
    dropped::{Dropped, Dropper, lasting, told},
    finding::{Confidence, Severity, Subject, SubjectKind},
    firewall::flow_words,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Drop, DropFlow, DropPlace, Flow, Stage};

pub(super) const RULE: Rule = Rule {
    code: "pod-policy-drops",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// ICMP and ICMPv6 (IANA's protocol numbers).
const ICMP: [u8; 2] = [1, 58];
/// How many of the dropped flows are named.
const NAMED: usize = 3;

fn judge(case: &Case<'_>) -> Ruling {
    let passed = Passed::of_pods(case);
    let mut found = lasting(case, |drop| dropped_in(case, drop));
    let of_dns = dns_pods::filtered(case);
    found.retain(|pod, dropped| !of_dns.contains_key(pod) && is_block(&passed, &dropped.drops));
    let judged = found.iter().map(|(pod, dropped)| judged(case, *pod, dropped));
    Ruling::from(judged.collect::<Vec<_>>())
}

/// The pod whose packet filter dropped what came from a peer and was not answered.
fn dropped_in(case: &Case<'_>, drop: &Drop) -> Option<IpAddr> {
    let flow = drop.flow.filter(|_| drop.place == DropPlace::Pod)?;
    told(drop, Dropper::Firewall)?;
    let is_from_peer =
        case.topology.is_own(flow.destination) && case.topology.peer_of(flow.source).is_some();
    (is_from_peer && arrived_in_vain(case, &flow)).then_some(flow.destination)
}

/// Whether the stages saw packets of the flow on their way into the pod, and nothing on its way out.
fn arrived_in_vain(case: &Case<'_>, dropped: &DropFlow) -> bool {
    if !sees_answers(case) {
        return true;
    }
    let flows = || case.evidence.traffic.iter().flat_map(|traffic| &traffic.flows);
    let arrived = flows().any(|flow| is_same(flow, dropped) && flow.packets.pod_in > 0);
    let DropFlow { source, destination, source_port, destination_port, .. } = *dropped;
    let answer = DropFlow {
        source: destination,
        destination: source,
        source_port: destination_port,
        destination_port: source_port,
        ..*dropped
    };
    let is_answered = flows().any(|flow| is_same(flow, &answer) && flow.packets.pod_out > 0);
    arrived && !is_answered
}

/// Whether what goes into pods and what comes out of them was observed.
fn sees_answers(case: &Case<'_>) -> bool {
    case.observed(Stage::PodIn) && case.observed(Stage::PodOut)
}

/// Whether it is the same flow. What stands for the ports of ICMP is not the same in both.
fn is_same(flow: &Flow, dropped: &DropFlow) -> bool {
    let ends = (flow.source, flow.destination, flow.protocol);
    let ports = (flow.source_port, flow.destination_port);
    ends == (dropped.source, dropped.destination, dropped.protocol)
        && (ICMP.contains(&flow.protocol)
            || ports == (dropped.source_port, dropped.destination_port))
}

fn judged(case: &Case<'_>, pod: IpAddr, dropped: &Dropped<'_>) -> Judged {
    let seconds = case.evidence.window.seconds;
    let flows: BTreeSet<String> =
        dropped.drops.iter().filter_map(|drop| Some(flow_words(&drop.flow?))).collect();
    let mut evidence =
        vec![format!("in the network namespace of the pod {}", told_of(dropped, seconds))];
    if sees_answers(case) {
        let line = "they came out of the bridge for it (pod_in), and it answered none of them";
        evidence.push(line.to_owned());
    }
    evidence.extend(flows.iter().take(NAMED).map(|flow| format!("dropped: {flow}")));
    Judged {
        finding: RULE.finding(
            format!("Packets reach pod {pod}, and a packet filter inside it drops them"),
            Subject {
                kind: SubjectKind::Flow,
                key: pod.to_string(),
                peer: None,
                cidr: case.topology.own_cidrs.iter().find(|cidr| cidr.contains(&pod)).copied(),
                vtep_mac: None,
                interface: None,
                address: Some(pod),
            },
            case.in_window(),
            evidence,
            vec![
                format!("kubectl get pods -A -o wide --field-selector status.podIP={pod}"),
                "nsenter -t PID -n nft list ruleset      (PID is that of a process of that pod; where \
                 it has iptables-legacy: iptables-legacy-save)"
                    .to_owned(),
                "(the network is fine: a service mesh's sidecar, a policy or the pod itself has put the \
                 rule there)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::InPod(pod)]),
        explains: BTreeSet::from([Effect::InPod(pod)]),
        as_break: format!("pod {pod}"),
    }
}
