//! `fw-drops-pod-to-node`: a packet filter of this node keeps its pods from the node itself.
//!
//! Pods reach each other; what they ask the node for (kubelet, DNS on the node, the API server, ports
//! of the host) gets no answer. Whether the rule drops or rejects is the same to the pod.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    blocked::{Passed, blocked, is_refused_as_closed},
    case::Case,
    dropped::{Dropped, Way, way},
    finding::{Confidence, Severity},
    firewall::{flows, perhaps_forbidden, service, show_rules},
    fw_drops_at_ports,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Drop, DropFlow, Platform};

pub(super) const RULE: Rule = Rule {
    code: "fw-drops-pod-to-node",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// What a pod asks the node for: an address, a protocol and a port.
type Asked = (IpAddr, u8, u16);

fn judge(case: &Case<'_>) -> Ruling {
    let passed = Passed::of(case);
    let is_told = fw_drops_at_ports::telling(case);
    let found =
        blocked(case, &passed, |drop| asked(case, &passed, drop).filter(|_| !is_told(drop)));
    let drops: Vec<&Drop> = found.values().flat_map(|it| it.drops.iter().copied()).collect();
    if drops.is_empty() {
        return Ruling::default();
    }
    let dropped = Dropped::of(drops);
    let why =
        || format!("why a packet filter dropped {} packets of pods to this node", dropped.packets);
    match perhaps_forbidden(case, why) {
        Some(line) => Ruling { judged: Vec::new(), unseen: vec![line] },
        None => Ruling::from(Some(judged(case, &dropped))),
    }
}

/// What a pod of this node asks it for in vain.
fn asked(case: &Case<'_>, passed: &Passed, drop: &Drop) -> Option<Asked> {
    let flow = drop.flow.filter(|flow| !passed.knows(*flow))?;
    if way(case, drop)? != Way::ToNode || is_of_service(case, flow.destination) {
        return None;
    }
    let is_pod = case.topology.tables.is_some_and(|tables| !tables.is_local(flow.source));
    (is_pod && !is_refused_as_closed(case, &flow)).then_some(port(&flow))
}

/// What is the same each time that something is asked for.
const fn port(flow: &DropFlow) -> Asked {
    // Of an echo it is the identifier of who asks.
    let port = if matches!(flow.protocol, 1 | 58) { 0 } else { flow.destination_port };
    (flow.destination, flow.protocol, port)
}

/// Whether an address is a service's, and not one that the node has too, as NodeLocal DNS has it.
fn is_of_service(case: &Case<'_>, address: IpAddr) -> bool {
    !case.topology.tables.is_some_and(|tables| tables.is_of_node(address))
}

fn judged(case: &Case<'_>, dropped: &Dropped<'_>) -> Judged {
    let node = &case.evidence.node.name;
    let asked: BTreeSet<DropFlow> = dropped.drops.iter().filter_map(|drop| drop.flow).collect();
    let services: BTreeSet<String> = asked.iter().map(service).collect();
    let services = Vec::from_iter(services).join(", ");
    let mut evidence = vec![format!(
        "{} packets of its pods to its own addresses in {:.1} s: {}",
        dropped.packets,
        case.evidence.window.seconds,
        dropped.by()
    )];
    evidence.extend(flows(&dropped.drops));
    let effects: BTreeSet<Effect> = asked.iter().map(|flow| Effect::ToNode(flow.source)).collect();
    Judged {
        finding: RULE.finding(
            format!("A firewall of {node} blocks its pods from reaching it ({services})"),
            case.about_node(&case.overlay_name()),
            case.in_window(),
            evidence,
            repair(case),
        ),
        rank: RULE.rank,
        supports: effects.clone(),
        explains: effects,
        as_break: format!("what pods ask {node} for"),
    }
}

fn repair(case: &Case<'_>) -> Vec<String> {
    let mut lines =
        show_rules(case, "what drops in the hook input, by its pods' addresses or device");
    let bridge = case.topology.bridge.map_or("cni0", |link| link.name.as_str());
    if case.evidence.node.platform != Platform::Talos {
        lines.push(format!(
            "ufw allow in on {bridge}      (where ufw runs; firewalld: firewall-cmd --permanent \
             --zone=trusted --add-interface={bridge} && firewall-cmd --reload)"
        ));
    }
    lines
}
