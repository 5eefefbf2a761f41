//! What firewalls drop, and what they drop on every healthy node.

mod plain;
mod ports;
mod tunnel;

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{
    Diagnosis, Severity, exit_status,
    testing::{PASSES, Plan, dropped, judge, peer_traffic, told},
};
use crate::{
    evidence::{
        Conntrack, Drop, DropFlow, DropOuter, Drops, Evidence, Losses, StageCounts, StagePair,
    },
    topology::nth_address,
};

/// Packets that a fault drops, half of them until the middle of the window.
const PACKETS: u64 = 40;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// The plans with packets.
fn plans(nodes: &[u8]) -> Vec<Plan> {
    PASSES.iter().flat_map(|pass| nodes.iter().map(|nodes| Plan::of(*nodes, *pass))).collect()
}

/// A pod of this node.
fn pod(plan: &Plan) -> IpAddr {
    nth_address(plan.own_cidr(), 9)
}

/// A datagram, dropped by a packet filter all the time.
fn datagram(source: IpAddr, destination: IpAddr, interface: &str) -> Drop {
    let flow =
        DropFlow { source, destination, protocol: UDP, source_port: 40_000, destination_port: 53 };
    let (flow, interface) = (Some(flow), Some(interface.to_owned()));
    Drop { flow, interface, packets: PACKETS, early: PACKETS / 2, ..dropped() }
}

/// The same of another protocol and with other ports.
fn with_ports(drop: Drop, protocol: u8, source_port: u16, destination_port: u16) -> Drop {
    let flow = drop.flow.map(|flow| DropFlow { protocol, source_port, destination_port, ..flow });
    Drop { flow, ..drop }
}

/// As kernels before 5.17 tell it.
fn without_reason(drop: Drop) -> Drop {
    Drop { reason: None, symbol: Some("nf_hook_slow".to_owned()), ..drop }
}

fn drop_also(evidence: &mut Evidence, more: impl IntoIterator<Item = Drop>) {
    let drops = evidence.drops.get_or_insert_with(|| Drops {
        headers_read: true,
        has_reasons: true,
        ..Drops::default()
    });
    drops.entries.extend(more);
    drops.packets = drops.entries.iter().map(|drop| drop.packets).sum();
}

/// Packets between this node and a peer end between two stages, half of them until the middle.
fn lose(evidence: &mut Evidence, cidr: IpNet, pair: StagePair, lost: u64) {
    let Some(traffic) = peer_traffic(evidence, cidr) else { return };
    *lost_at(&mut traffic.lost, pair) = lost;
    *lost_at(&mut traffic.lost_early, pair) = lost / 2;
    take_off(&mut traffic.packets, pair, lost);
    take_off(&mut traffic.early, pair, lost / 2);
}

fn lost_at(losses: &mut Losses, pair: StagePair) -> &mut u64 {
    match pair {
        StagePair::PodToOverlay => &mut losses.pod_to_overlay,
        StagePair::OverlayToWire => &mut losses.overlay_to_wire,
        StagePair::WireToOverlay => &mut losses.wire_to_overlay,
        StagePair::OverlayToPod => &mut losses.overlay_to_pod,
        StagePair::WireToPeer => &mut losses.wire_to_peer,
    }
}

/// What the stages behind a pair did not see.
fn take_off(packets: &mut StageCounts, pair: StagePair, lost: u64) {
    let StageCounts { overlay_out, wire_out, overlay_in, pod_in, .. } = packets;
    let later = match pair {
        StagePair::PodToOverlay => vec![overlay_out, wire_out],
        StagePair::OverlayToWire => vec![wire_out],
        StagePair::WireToOverlay => vec![overlay_in, pod_in],
        StagePair::OverlayToPod => vec![pod_in],
        StagePair::WireToPeer => Vec::new(),
    };
    later.into_iter().for_each(|packets| *packets = packets.saturating_sub(lost));
}

/// Between which stages packets of a pod to a peer's, or the other way round, are lost.
const PLAIN: [StagePair; 2] = [StagePair::PodToOverlay, StagePair::OverlayToPod];
const TUNNEL: [StagePair; 2] = [StagePair::OverlayToWire, StagePair::WireToOverlay];

/// A packet between a pod here and one of a peer that a filter drops between two stages.
fn drop_at(plan: &Plan, node: u8, pair: StagePair) -> Drop {
    let (ours, theirs) = (pod(plan), nth_address(plan.cidr(node), 5));
    let (here, there) = (plan.node_ip(plan.own), plan.node_ip(node));
    let outer = |source, destination| Some(DropOuter { source, destination });
    match pair {
        StagePair::PodToOverlay => datagram(ours, theirs, "cni0"),
        StagePair::OverlayToPod => datagram(theirs, ours, "flannel.1"),
        StagePair::OverlayToWire | StagePair::WireToPeer => {
            Drop { outer: outer(here, there), ..datagram(ours, theirs, "flannel.1") }
        }
        StagePair::WireToOverlay => {
            Drop { outer: outer(there, here), ..datagram(theirs, ours, "eth0") }
        }
    }
}

/// What a node's firewall does to a peer's packets.
fn hit(evidence: &mut Evidence, plan: &Plan, node: u8, pair: StagePair) {
    lose(evidence, plan.cidr(node), pair, PACKETS);
    drop_also(evidence, [drop_at(plan, node, pair)]);
}

/// One finding and no other; its twin is judged too.
fn assert_one(evidence: &mut Evidence, expected: &str, severity: Severity) -> Diagnosis {
    let diagnosis = judge(evidence);
    assert_eq!(told(&diagnosis), [expected], "{diagnosis:#?}");
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.severity, severity);
    assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty());
    assert!(finding.impact.packets > 0 && finding.subject.interface.is_some(), "{finding:#?}");
    assert_eq!(exit_status(&diagnosis, evidence, Severity::Warning), 1);
    diagnosis
}

/// These findings after `change`, on nodes of all passes.
fn assert_told(expected: &[&str], change: impl Fn(&mut Evidence, &Plan)) {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        change(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), expected, "{plan:?}\n{diagnosis:#?}");
    }
}

/// Something cannot be told after `change`, and nothing is found.
fn assert_unseen(words: &str, change: impl Fn(&mut Evidence, &Plan)) {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        change(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0], "{plan:?}\n{diagnosis:#?}");
        assert!(diagnosis.unseen.iter().any(|line| line.contains(words)), "{diagnosis:#?}");
    }
}

fn set_conntrack(evidence: &mut Evidence, conntrack: Conntrack) {
    evidence.statistics.get_or_insert_default().conntrack = Some(conntrack);
}
