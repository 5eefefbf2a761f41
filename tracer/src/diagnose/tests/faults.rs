//! Each fault applied to a healthy node, with three passes of intent, with and without packets.

use std::collections::BTreeSet;

use super::super::{
    Confidence, PeerState, Precision, Severity,
    testing::{
        BRIDGE, LO, OVERLAY, PASSES, Pass, Plan, UPLINK, fdb, judge, link, mac, peer_traffic,
        refusing, tables, told, via,
    },
};
use crate::evidence::{
    Evidence, Losses, NeighbourState, Platform, Route, RouteKind, RouteOutcome, StageCounts,
    Stranger, Vxlan,
};

/// A name, what it does, and the finding that must be told.
type Fault = (&'static str, fn(&mut Evidence, &Plan), fn(&Plan) -> String);

/// The plans that every fault is tried on.
fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for pass in PASSES {
        for nodes in [2, 3, 5] {
            for seconds in [0.0, 5.0] {
                plans.push(Plan { seconds, ..Plan::of(nodes, pass) });
            }
        }
    }
    plans
}

fn lose_route(evidence: &mut Evidence, plan: &Plan) {
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

fn lose_route_and_default(evidence: &mut Evidence, plan: &Plan) {
    lose_route(evidence, plan);
    tables(evidence).routes.retain(|route| route.destination.prefix_len() != 0);
}

fn blackhole(evidence: &mut Evidence, plan: &Plan, kind: RouteKind) {
    lose_route(evidence, plan);
    tables(evidence).routes.push(refusing(plan.hit_cidr(), kind));
}

fn lose_fdb(evidence: &mut Evidence, plan: &Plan) {
    let hit = mac(plan.hit());
    tables(evidence).fdb.retain(|entry| entry.mac != hit);
    lose_after_overlay(evidence, plan);
}

fn lose_neighbour(evidence: &mut Evidence, plan: &Plan) {
    let gateway = plan.hit_cidr().network();
    tables(evidence).neighbours.retain(|entry| entry.address != gateway);
    lose_after_overlay(evidence, plan);
}

fn fail_neighbour(evidence: &mut Evidence, plan: &Plan) {
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

fn delete_overlay(evidence: &mut Evidence, _: &Plan) {
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

fn down_overlay(evidence: &mut Evidence, _: &Plan) {
    set_down(evidence, OVERLAY);
    silence_traffic(evidence);
}

fn flap_overlay(evidence: &mut Evidence, _: &Plan) {
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

fn down_bridge(evidence: &mut Evidence, _: &Plan) {
    set_down(evidence, BRIDGE);
}

fn delete_bridge(evidence: &mut Evidence, _: &Plan) {
    delete_device(evidence, BRIDGE);
}

const FAULTS: [Fault; 12] = [
    ("route", lose_route, |plan| format!("pod-route-missing {}", plan.hit_cidr())),
    ("route and default", lose_route_and_default, |plan| {
        format!("pod-route-missing {}", plan.hit_cidr())
    }),
    (
        "blackhole",
        |evidence, plan| blackhole(evidence, plan, RouteKind::Blackhole),
        |plan| format!("pod-route-blackholed {}", plan.hit_cidr()),
    ),
    (
        "unreachable",
        |evidence, plan| blackhole(evidence, plan, RouteKind::Unreachable),
        |plan| format!("pod-route-blackholed {}", plan.hit_cidr()),
    ),
    (
        "prohibit",
        |evidence, plan| blackhole(evidence, plan, RouteKind::Prohibit),
        |plan| format!("pod-route-blackholed {}", plan.hit_cidr()),
    ),
    ("fdb", lose_fdb, |plan| format!("fdb-entry-missing {}", plan.hit_cidr())),
    ("neighbour", lose_neighbour, |plan| format!("neigh-entry-missing {}", plan.hit_cidr())),
    ("failed neighbour", fail_neighbour, |plan| format!("neigh-entry-missing {}", plan.hit_cidr())),
    ("overlay deleted", delete_overlay, |plan| format!("flannel-link-missing {}", plan.overlay)),
    ("overlay down", down_overlay, |plan| format!("flannel-link-down {}", plan.overlay)),
    ("overlay flapped", flap_overlay, |plan| {
        format!("flannel-link-flapped-state-lost {}", plan.overlay)
    }),
    ("bridge down", down_bridge, |plan| format!("cni0-down {}", plan.bridge)),
];

#[test]
fn each_fault_gives_its_finding_and_no_other() {
    for (name, fault, expected) in FAULTS {
        for plan in plans() {
            let mut evidence = plan.evidence();
            fault(&mut evidence, &plan);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [expected(&plan)], "{name}: {plan:?}");
            let finding = &diagnosis.findings[0];
            assert_eq!(finding.severity, Severity::Critical, "{name}");
            assert_eq!(finding.confidence, Confidence::Certain, "{name}");
            assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty(), "{name}");
            assert!(finding.subject.interface.is_some(), "{name}");
        }
    }
}

#[test]
fn a_deleted_bridge_is_told_by_the_veths_it_left() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        delete_bridge(&mut evidence, &plan);
        assert_eq!(told(&judge(&mut evidence)), ["cni0-down cni0"], "{plan:?}");
    }
}

#[test]
fn a_fault_of_one_peer_breaks_that_peer_alone() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    let states: Vec<_> = diagnosis.peers.iter().map(|peer| (peer.cidr, peer.state)).collect();
    assert_eq!(
        states,
        [(plan.cidr(0), PeerState::Ok), (plan.cidr(2), PeerState::Broken)],
        "{diagnosis:?}"
    );
}

#[test]
fn a_fault_of_the_node_breaks_every_peer() {
    let plan = Plan::of(4, Pass::PeersFile);
    for fault in [delete_overlay, down_overlay, flap_overlay, down_bridge] {
        let mut evidence = plan.evidence();
        fault(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        let states: Vec<PeerState> = diagnosis.peers.iter().map(|peer| peer.state).collect();
        assert_eq!(states, [PeerState::Broken; 3], "{diagnosis:?}");
    }
}

#[test]
fn the_impact_counts_a_leaked_packet_once() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(diagnosis.findings[0].impact.packets, 12);
    assert_eq!(
        diagnosis.findings[0].breaks,
        [format!("packets of {} after pod_out", plan.hit_cidr())]
    );
}

#[test]
fn a_missing_route_is_bounded_by_the_age_of_the_neighbour() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    let since = judge(&mut evidence).findings.remove(0).since;
    assert_eq!(since.precision, Precision::Bounded);
    assert_eq!(since.not_before, "2026-01-01T11:43:20Z".parse().ok());
    assert_eq!(since.not_after, "2026-01-01T12:00:00Z".parse().ok());
    assert_eq!(since.time, None);
}

#[test]
fn a_flap_is_dated_by_the_link_local_address() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    flap_overlay(&mut evidence, &plan);
    let since = judge(&mut evidence).findings.remove(0).since;
    assert_eq!(since.time, "2026-01-01T11:59:00Z".parse().ok());
    assert_eq!(since.precision, Precision::Bounded);
}

#[test]
fn a_flap_swallows_the_routes_it_took() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    flap_overlay(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    let breaks: BTreeSet<String> = diagnosis.findings[0].breaks.iter().cloned().collect();
    for node in plan.peers() {
        assert!(breaks.contains(&format!("route to {}", plan.cidr(node))), "{breaks:?}");
    }
}

#[test]
fn without_a_link_local_address_a_flap_needs_a_living_peer() {
    for (pass, expected) in [(Pass::Tables, 0), (Pass::SubnetEnv, 0), (Pass::PeersFile, 1)] {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        flap_overlay(&mut evidence, &plan);
        tables(&mut evidence).addresses.retain(|address| address.address.is_ipv4());
        let diagnosis = judge(&mut evidence);
        assert_eq!(diagnosis.findings.len(), expected, "{diagnosis:?}");
        let unsure = diagnosis.unseen.iter().any(|line| line.contains("no link-local address"));
        assert_eq!(unsure, expected == 0, "{:?}", diagnosis.unseen);
    }
}

#[test]
fn packets_of_a_stranger_show_that_a_flapped_device_lost_a_peer() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    flap_overlay(&mut evidence, &plan);
    tables(&mut evidence).addresses.retain(|address| address.address.is_ipv4());
    let traffic = evidence.traffic.as_mut().unwrap();
    traffic.peers.clear();
    traffic.strangers.push(Stranger {
        inner_source: crate::topology::nth_address(plan.hit_cidr(), 5),
        outer_source: plan.node_ip(plan.hit()),
        packets: 9,
    });
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["flannel-link-flapped-state-lost flannel.1"]);
    assert_eq!(diagnosis.peers[0].node_ip, Some(plan.node_ip(plan.hit())));
}

#[test]
fn a_peer_without_fdb_entry_has_a_node_address_only_where_something_tells_it() {
    for (pass, seconds, known) in [
        (Pass::Tables, 0.0, false),
        (Pass::SubnetEnv, 0.0, false),
        (Pass::PeersFile, 0.0, true),
        (Pass::Tables, 5.0, true),
    ] {
        let plan = Plan { seconds, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        lose_fdb(&mut evidence, &plan);
        let subject = judge(&mut evidence).findings.remove(0).subject;
        assert_eq!(subject.peer, known.then(|| plan.node_ip(plan.hit())), "{plan:?}");
        assert_eq!(subject.vtep_mac, Some(mac(plan.hit())));
        assert_eq!(subject.cidr, Some(plan.hit_cidr()));
    }
}

#[test]
fn a_left_over_entry_of_another_peer_does_not_hide_a_missing_one() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::Tables) };
    let mut evidence = plan.evidence();
    lose_fdb(&mut evidence, &plan);
    let other = plan.peers().next().unwrap();
    tables(&mut evidence).fdb.push(fdb(mac(99), plan.node_ip(other)));
    assert_eq!(told(&judge(&mut evidence)), [format!("fdb-entry-missing {}", plan.hit_cidr())]);
}

#[test]
fn which_of_two_entries_is_wrong_is_not_guessed() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::Tables) };
    let mut evidence = plan.evidence();
    for entry in &mut tables(&mut evidence).neighbours {
        if entry.address == plan.hit_cidr().network() {
            entry.mac = Some(mac(99));
        }
    }
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(diagnosis.unseen.iter().any(|line| line.contains("is no FDB key")));
}

#[test]
fn silence_of_a_peer_is_told_as_likely() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("tunnel-one-way {}", plan.hit_cidr())]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    assert_eq!(diagnosis.findings[0].impact.packets, 30);
    assert!(diagnosis.findings[0].evidence[1].starts_with("the tables of this node are right"));
}

#[test]
fn silence_is_not_told_where_nobody_listened() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    evidence.hooks.retain(|hook| hook.ifindex != UPLINK);
    assert_eq!(told(&super::super::diagnose(&evidence)), [""; 0]);
}

#[test]
fn silence_is_not_told_where_answers_may_come_by_another_uplink() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    tables(&mut evidence).links.push(link(30, "tailscale0", Some("tun")));
    let other = plan.node_ip(plan.peers().next().unwrap());
    tables(&mut evidence).routes.push(via(other.into(), None, 30));
    assert_eq!(judge(&mut evidence).findings.len(), 1);
    evidence.hooks.retain(|hook| hook.ifindex != 30);
    assert_eq!(told(&super::super::diagnose(&evidence)), [""; 0]);
}

fn make_one_way(evidence: &mut Evidence, plan: &Plan) {
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

#[test]
fn a_loss_without_a_cause_names_its_stage() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.lost.wire_to_overlay = 9;
    traffic.lost_early.wire_to_overlay = 4;
    traffic.lost.overlay_to_pod = 7;
    traffic.lost_early.overlay_to_pod = 3;
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
    let finding = &diagnosis.findings[0];
    assert_eq!((finding.severity, finding.impact.packets), (Severity::Warning, 16));
    assert_eq!(finding.evidence.len(), 2);
}

#[test]
fn two_faults_give_two_findings() {
    let plan = Plan::of(4, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_fdb(&mut evidence, &plan);
    let other = plan.cidr(plan.peers().next().unwrap());
    tables(&mut evidence).routes.retain(|route| route.destination != other);
    assert_eq!(
        told(&judge(&mut evidence)),
        [format!("fdb-entry-missing {}", plan.hit_cidr()), format!("pod-route-missing {other}")]
    );
}

#[test]
fn a_cluster_wide_blackhole_under_a_missing_route_asks_for_a_restart() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    tables(&mut evidence)
        .routes
        .push(refusing("10.244.0.0/16".parse().unwrap(), RouteKind::Blackhole));
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("pod-route-blackholed {}", plan.hit_cidr())]);
    let remedy = &diagnosis.findings[0].remedy;
    assert!(remedy[0].starts_with("kubectl -n kube-flannel delete pod"), "{remedy:?}");
}

#[test]
fn the_route_that_refuses_is_the_longest_match() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let wide = "10.244.0.0/16".parse().unwrap();
    tables(&mut evidence).routes.push(refusing(wide, RouteKind::Blackhole));
    blackhole(&mut evidence, &plan, RouteKind::Blackhole);
    let finding = judge(&mut evidence).findings.remove(0);
    assert_eq!(finding.remedy[0], format!("ip route del blackhole {}", plan.hit_cidr()));
}

#[test]
fn the_remedy_speaks_the_words_of_the_platform() {
    let plan = Plan::of(2, Pass::SubnetEnv);
    for (platform, command) in [
        (Platform::K3sServer, "systemctl restart k3s"),
        (Platform::K3sAgent, "systemctl restart k3s-agent"),
        (
            Platform::Rke2Agent,
            "kubectl -n kube-system delete pod --field-selector spec.nodeName=n1 -l k8s-app=canal",
        ),
        (
            Platform::Talos,
            "kubectl -n kube-system delete pod --field-selector spec.nodeName=n1 -l k8s-app=flannel",
        ),
        (
            Platform::Kubeadm,
            "kubectl -n kube-flannel delete pod --field-selector spec.nodeName=n1 -l app=flannel",
        ),
    ] {
        let mut evidence = plan.evidence();
        evidence.node.platform = platform;
        lose_route(&mut evidence, &plan);
        assert_eq!(judge(&mut evidence).findings[0].remedy[0], command);
    }
}

#[test]
fn a_port_taken_by_another_plugin_is_not_a_device_set_down() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    down_overlay(&mut evidence, &plan);
    let mut other = link(30, "cilium_vxlan", Some("vxlan"));
    other.vxlan = Some(Vxlan {
        vni: 0,
        port: 8472,
        local: None,
        link: None,
        learning: false,
        external: true,
    });
    tables(&mut evidence).links.push(other);
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}

#[test]
fn a_policy_rule_that_hijacks_a_right_route_is_no_missing_route() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::PeersFile) };
    let mut evidence = plan.evidence();
    let wide: ipnet::IpNet = "10.244.0.0/16".parse().unwrap();
    let hijack = Route { table: 52, ..via(wide, Some(plan.gateway()), UPLINK) };
    for answer in &mut tables(&mut evidence).answers {
        if wide.contains(&answer.destination) {
            answer.outcome = RouteOutcome::Route(hijack.clone());
        }
    }
    tables(&mut evidence).routes.push(hijack);
    assert_eq!(told(&super::super::diagnose(&evidence)), [""; 0]);
}

#[test]
fn faults_that_have_no_rule_yet_give_nothing_wrong() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::SubnetEnv) };
    let wrong_device = |evidence: &mut Evidence| {
        let tables = tables(evidence);
        tables.routes.retain(|route| route.destination != plan.hit_cidr());
        tables.routes.push(via(plan.hit_cidr(), None, BRIDGE));
    };
    let points_to_self = |evidence: &mut Evidence| {
        let own = plan.node_ip(plan.own);
        for entry in &mut tables(evidence).fdb {
            entry.destination = Some(own);
        }
    };
    let no_address = |evidence: &mut Evidence| {
        let tables = tables(evidence);
        tables.addresses.retain(|it| it.ifindex != OVERLAY || it.address.is_ipv6());
        tables
            .routes
            .retain(|route| route.next_hops.iter().all(|hop| hop.ifindex != Some(OVERLAY)));
    };
    for fault in [&wrong_device as &dyn Fn(&mut Evidence), &points_to_self, &no_address] {
        let mut evidence = plan.evidence();
        fault(&mut evidence);
        assert_eq!(told(&judge(&mut evidence)), [""; 0]);
        assert!(!evidence.roles.uplinks.contains(&LO));
    }
}
