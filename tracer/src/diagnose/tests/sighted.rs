//! What packets tell by themselves, and what resembles it on healthy nodes.

mod addresses;
mod errors;
mod macs;
mod node_servers;
mod pods;
mod services;
mod tunnels;

use std::net::IpAddr;

use super::super::{
    Diagnosis, Severity, exit_status,
    testing::{OVERLAY, PASSES, Plan, judge, peer_traffic, tables, told},
};
use crate::{
    evidence::{DropFlow, Evidence, IcmpError, MacAddress, Sight, Sighting, StageCounts},
    topology::nth_address,
};

/// The MAC that [`Plan`] gives this node's overlay device.
const OWN_MAC: MacAddress = MacAddress([0x1e, 0x2d, 0x3e, 0x4f, 0x50, 0x61]);
/// An address outside the cluster.
const OUTSIDE: &str = "198.51.100.7";

/// The plans with packets.
fn plans(nodes: &[u8]) -> Vec<Plan> {
    PASSES.iter().flat_map(|pass| nodes.iter().map(|nodes| Plan::of(*nodes, *pass))).collect()
}

/// Something was seen all the time.
fn see(evidence: &mut Evidence, interface: &str, what: Sight, packets: u64) {
    see_early(evidence, interface, what, packets, packets / 2);
}

fn see_early(evidence: &mut Evidence, interface: &str, what: Sight, packets: u64, early: u64) {
    let sighting = Sighting { interface: interface.to_owned(), what, packets, early };
    evidence.traffic.as_mut().unwrap().sightings.push(sighting);
}

/// Packets leave for a peer, and none come.
fn silence(evidence: &mut Evidence, plan: &Plan, node: u8) {
    let out = |packets| StageCounts {
        pod_out: packets,
        overlay_out: packets,
        wire_out: packets,
        ..StageCounts::default()
    };
    let cidr = plan.cidr(node);
    let traffic = peer_traffic(evidence, cidr).unwrap();
    (traffic.packets, traffic.early) = (out(40), out(20));
    (traffic.outer_source, traffic.inner_source_mac) = (None, None);
    evidence.traffic.as_mut().unwrap().flows.retain(|flow| !cidr.contains(&flow.source));
}

/// Packets come from a peer in the tunnel, and end before the pods.
fn lose_at_overlay(evidence: &mut Evidence, plan: &Plan, node: u8) {
    let traffic = peer_traffic(evidence, plan.cidr(node)).unwrap();
    (traffic.packets.pod_in, traffic.early.pod_in) = (0, 0);
    (traffic.lost.overlay_to_pod, traffic.lost_early.overlay_to_pod) = (40, 20);
}

/// An ICMP error about a UDP or TCP packet.
fn error(sender: IpAddr, (kind, code): (u8, u8), quoted: DropFlow) -> Sight {
    let receiver = quoted.source;
    Sight::IcmpError(IcmpError { sender, receiver, kind, code, mtu: 0, quoted })
}

/// A tunnel packet of this node.
fn outer(plan: &Plan, destination: IpAddr, port: u16) -> DropFlow {
    DropFlow {
        source: plan.node_ip(plan.own),
        destination,
        protocol: 17,
        source_port: 0,
        destination_port: port,
    }
}

/// A packet of a pod of this node.
fn inner(plan: &Plan, destination: IpAddr, protocol: u8, port: u16) -> DropFlow {
    let source = nth_address(plan.own_cidr(), 9);
    DropFlow { source, destination, protocol, source_port: 40_000, destination_port: port }
}

/// A pod of the peer that is hit.
fn pod(plan: &Plan) -> IpAddr {
    nth_address(plan.hit_cidr(), 5)
}

/// One finding and no other; its twin is judged too.
fn assert_one(evidence: &mut Evidence, expected: &str, severity: Severity) -> Diagnosis {
    let diagnosis = judge(evidence);
    assert_eq!(told(&diagnosis), [expected], "{diagnosis:#?}");
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.severity, severity);
    assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty());
    let status = u8::from(severity != Severity::Info);
    assert_eq!(exit_status(&diagnosis, evidence, Severity::Warning), status);
    diagnosis
}

/// Nothing is found on nodes of all passes after `change`.
fn assert_healthy(nodes: u8, change: impl Fn(&mut Evidence, &Plan)) {
    for plan in plans(&[nodes]) {
        let mut evidence = plan.evidence();
        change(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0], "{plan:?}\n{diagnosis:#?}");
    }
}

/// Gives this node's overlay device another MAC; nothing else.
fn set_own_mac(evidence: &mut Evidence, mac: MacAddress) {
    let links = &mut tables(evidence).links;
    links.iter_mut().find(|link| link.index == OVERLAY).unwrap().mac = Some(mac);
}
