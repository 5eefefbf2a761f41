//! What each fault leaves in tables and counters.

use super::super::testing::{BRIDGE, OVERLAY, Plan, mac, peer_traffic, refusing, tables};
use crate::evidence::{Evidence, Losses, NeighbourState, RouteKind, StageCounts};

pub(super) fn lose_route(evidence: &mut Evidence, plan: &Plan) {
    tables(evidence).routes.retain(|route| route.destination != plan.hit_cidr());
    if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
        traffic.leaked = 12;
        traffic.leaked_early = 6;
        traffic.lost.pod_to_overlay = 12;
        traffic.lost_early.pod_to_overlay = 6;
        traffic.packets = StageCounts {
            pod_out: 12,
            wire_in: 4,
            overlay_in: 4,
            pod_in: 4,
            ..StageCounts::default()
        };
    }
    if let Some(traffic) = &mut evidence.traffic {
        traffic.stages.leak.packets = 12;
    }
}

pub(super) fn lose_route_and_default(evidence: &mut Evidence, plan: &Plan) {
    lose_route(evidence, plan);
    tables(evidence).routes.retain(|route| route.destination.prefix_len() != 0);
}

pub(super) fn blackhole(evidence: &mut Evidence, plan: &Plan, kind: RouteKind) {
    lose_route(evidence, plan);
    tables(evidence).routes.push(refusing(plan.hit_cidr(), kind));
}

pub(super) fn lose_fdb(evidence: &mut Evidence, plan: &Plan) {
    let hit = mac(plan.hit());
    tables(evidence).fdb.retain(|entry| entry.mac != hit);
    lose_after_overlay(evidence, plan);
}

pub(super) fn lose_neighbour(evidence: &mut Evidence, plan: &Plan) {
    let gateway = plan.hit_cidr().network();
    tables(evidence).neighbours.retain(|entry| entry.address != gateway);
    lose_after_overlay(evidence, plan);
}

pub(super) fn fail_neighbour(evidence: &mut Evidence, plan: &Plan) {
    let gateway = plan.hit_cidr().network();
    for entry in &mut tables(evidence).neighbours {
        if entry.address == gateway {
            entry.state = NeighbourState::Failed;
            entry.mac = None;
        }
    }
}

fn lose_after_overlay(evidence: &mut Evidence, plan: &Plan) {
    if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
        traffic.packets = StageCounts { pod_out: 40, overlay_out: 40, ..StageCounts::default() };
        traffic.early = StageCounts { pod_out: 20, overlay_out: 20, ..StageCounts::default() };
        traffic.lost = Losses { overlay_to_wire: 40, ..Losses::default() };
        traffic.lost_early = Losses { overlay_to_wire: 20, ..Losses::default() };
        traffic.asking_out = 0;
    }
}

fn silence_traffic(evidence: &mut Evidence) {
    for peer in evidence.traffic.iter_mut().flat_map(|traffic| &mut traffic.peers) {
        peer.packets = StageCounts { pod_out: 40, ..StageCounts::default() };
        peer.early = StageCounts { pod_out: 20, ..StageCounts::default() };
        peer.lost.pod_to_overlay = 40;
        peer.lost_early.pod_to_overlay = 20;
        peer.leaked = 40;
        peer.asking_out = 0;
    }
}

fn delete_device(evidence: &mut Evidence, index: u32) {
    let tables = tables(evidence);
    tables.links.retain(|link| link.index != index);
    tables.addresses.retain(|address| address.ifindex != index);
    tables.routes.retain(|route| route.next_hops.iter().all(|hop| hop.ifindex != Some(index)));
    tables.neighbours.retain(|entry| entry.ifindex != index);
    tables.fdb.retain(|entry| entry.ifindex != index);
    for link in &mut tables.links {
        if link.master == Some(index) {
            link.master = None;
        }
    }
}

pub(super) fn delete_overlay(evidence: &mut Evidence, _: &Plan) {
    delete_device(evidence, OVERLAY);
    silence_traffic(evidence);
}

fn set_down(evidence: &mut Evidence, index: u32) {
    let tables = tables(evidence);
    for link in tables.links.iter_mut().filter(|link| link.index == index) {
        link.up = false;
        link.lower_up = false;
    }
    tables.routes.retain(|route| route.next_hops.iter().all(|hop| hop.ifindex != Some(index)));
    tables.neighbours.retain(|entry| entry.ifindex != index);
    tables.addresses.retain(|it| it.ifindex != index || it.address.is_ipv4());
}

pub(super) fn down_overlay(evidence: &mut Evidence, _: &Plan) {
    set_down(evidence, OVERLAY);
    silence_traffic(evidence);
}

pub(super) fn flap_overlay(evidence: &mut Evidence, _: &Plan) {
    let tables = tables(evidence);
    tables.routes.retain(|route| {
        route.destination.addr().is_ipv6()
            || route.next_hops.iter().all(|hop| hop.ifindex != Some(OVERLAY))
    });
    tables.neighbours.retain(|entry| entry.ifindex != OVERLAY || entry.address.is_ipv6());
    for address in tables.addresses.iter_mut().filter(|it| it.address.is_ipv6()) {
        address.created_age = Some(60.0);
    }
    silence_traffic(evidence);
}

pub(super) fn down_bridge(evidence: &mut Evidence, _: &Plan) {
    set_down(evidence, BRIDGE);
}

pub(super) fn delete_bridge(evidence: &mut Evidence, _: &Plan) {
    delete_device(evidence, BRIDGE);
}

pub(super) fn make_one_way(evidence: &mut Evidence, plan: &Plan) {
    let out = |packets| StageCounts {
        pod_out: packets,
        overlay_out: packets,
        wire_out: packets,
        ..StageCounts::default()
    };
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    traffic.packets = out(40);
    traffic.early = out(20);
    traffic.outer_source = None;
}
