//! Healthy nodes that look like broken ones: no finding.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{
    PeerState, Severity, diagnose, exit_status,
    testing::{
        BRIDGE, OVERLAY, PASSES, Pass, Plan, UPLINK, VETH, address, fdb, flow_of, judge, link, mac,
        neighbour, peer_traffic, refusing, tables, told, via,
    },
};
use crate::{
    evidence::{
        DropFlow, Evidence, Flow, HookDirection, NeighbourState, Route, RouteKind, StageCounts,
        Tables, Vxlan,
    },
    topology::nth_address,
};

/// Applies `change` to healthy nodes of all passes and asserts that nothing is found.
fn assert_healthy(nodes: u8, change: impl Fn(&mut Evidence, &Plan)) {
    for pass in PASSES {
        for seconds in [0.0, 5.0] {
            let plan = Plan { seconds, ..Plan::of(nodes, pass) };
            let mut evidence = plan.evidence();
            change(&mut evidence, &plan);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [""; 0], "{plan:?}\n{diagnosis:#?}");
            assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 0);
        }
    }
}

fn vxlan(vni: u32, port: u16, learning: bool, external: bool) -> Option<Vxlan> {
    let (local, link, df) = (None, Some(UPLINK), Default::default());
    Some(Vxlan { vni, port, local, link, learning, external, gbp: false, df })
}

/// Removes all that flannel wrote for a peer.
fn forget(tables: &mut Tables, plan: &Plan, node: u8) {
    tables.routes.retain(|route| route.destination != plan.cidr(node));
    tables.neighbours.retain(|entry| entry.address != plan.cidr(node).network());
    tables.fdb.retain(|entry| entry.mac != mac(node));
}

#[test]
fn a_healthy_cluster() {
    for nodes in 1..6 {
        assert_healthy(nodes, |_, _| {});
    }
}

#[test]
fn all_peers_with_traffic_are_ok_and_those_without_are_unverified() {
    for (seconds, state) in [(5.0, PeerState::Ok), (0.0, PeerState::Unverified)] {
        let plan = Plan { seconds, ..Plan::of(3, Pass::Tables) };
        let diagnosis = judge(&mut plan.evidence());
        let states: Vec<PeerState> = diagnosis.peers.iter().map(|peer| peer.state).collect();
        assert_eq!(states, [state; 2]);
    }
}

#[test]
fn a_fresh_node_without_pods() {
    assert_healthy(3, |evidence, _| {
        let tables = tables(evidence);
        tables.links.retain(|link| link.index != BRIDGE && link.index < VETH);
        tables.addresses.retain(|address| address.ifindex != BRIDGE);
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
    });
}

#[test]
fn a_bridge_without_carrier() {
    assert_healthy(3, |evidence, _| {
        let tables = tables(evidence);
        tables.links.retain(|link| link.index < VETH);
        tables.links.iter_mut().find(|link| link.index == BRIDGE).unwrap().lower_up = false;
    });
}

#[test]
fn veths_of_others_without_a_bridge() {
    assert_healthy(3, |evidence, _| {
        let tables = tables(evidence);
        tables.links.retain(|link| link.index != BRIDGE);
        tables.addresses.retain(|address| address.ifindex != BRIDGE);
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
        tables.addresses.push(address(VETH, "172.30.0.1", 30));
        tables.routes.push(via("172.31.0.5/32".parse().unwrap(), None, VETH + 1));
        for link in tables.links.iter_mut().filter(|link| link.index >= VETH) {
            link.master = None;
        }
    });
}

#[test]
fn a_bridge_that_no_pod_uses_may_be_down() {
    assert_healthy(3, |evidence, _| {
        let tables = tables(evidence);
        tables.links.retain(|link| link.index < VETH);
        tables.links.iter_mut().find(|link| link.index == BRIDGE).unwrap().up = false;
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
    });
}

#[test]
fn pods_of_a_plugin_without_a_bridge() {
    for name in ["cali0ab1", "lxc_health", "veth7"] {
        assert_healthy(3, |evidence, plan| {
            let tables = tables(evidence);
            tables.links.retain(|link| link.index != BRIDGE);
            tables.addresses.retain(|address| address.ifindex != BRIDGE);
            tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
            // One pod is routed to, the other's route is not there yet.
            let first = tables.links.iter_mut().find(|link| link.index == VETH).unwrap();
            first.name = name.to_owned();
            tables.links.iter_mut().for_each(|link| link.master = None);
            let pod = IpNet::from(nth_address(plan.own_cidr(), 9));
            tables.routes.push(via(pod, None, VETH));
        });
    }
}

#[test]
fn a_peer_that_left_while_a_client_keeps_calling() {
    for pass in [Pass::Tables, Pass::SubnetEnv] {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        forget(tables(&mut evidence), &plan, plan.hit());
        let traffic = evidence.traffic.as_mut().unwrap();
        traffic.peers.retain(|peer| peer.cidr != plan.hit_cidr());
        traffic.flows.retain(|flow| !plan.hit_cidr().contains(&flow.destination));
        traffic.stages.leak.packets = 40;
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0]);
        assert!(diagnosis.peers.iter().all(|peer| peer.cidr != plan.hit_cidr()));
        assert!(
            diagnosis.unseen.iter().any(|line| line.contains("40 packets left un-encapsulated"))
        );
    }
}

#[test]
fn all_peers_left_and_old_fdb_entries_remained() {
    for pass in [Pass::Tables, Pass::SubnetEnv] {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        for node in plan.peers() {
            forget(tables(&mut evidence), &plan, node);
        }
        tables(&mut evidence).fdb.push(fdb(mac(90), plan.node_ip(0)));
        assert_eq!(told(&judge(&mut evidence)), [""; 0]);
    }
}

#[test]
fn entries_written_while_the_device_came_up() {
    assert_healthy(1, |evidence, plan| {
        let tables = tables(evidence);
        tables.fdb.push(fdb(mac(90), plan.node_ip(9)));
        tables.addresses.iter_mut().for_each(|it| it.created_age = Some(999.98));
        tables.fdb.iter_mut().for_each(|it| it.updated_age = Some(1000.0));
    });
}

#[test]
fn direct_routing() {
    assert_healthy(3, |evidence, plan| {
        let direct = plan.node_ip(plan.hit());
        let tables = tables(evidence);
        forget(tables, plan, plan.hit());
        tables.routes.push(via(plan.hit_cidr(), Some(direct), UPLINK));
        if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
            traffic.packets = StageCounts { pod_out: 40, ..StageCounts::default() };
            traffic.lost.pod_to_overlay = 40;
            traffic.lost_early.pod_to_overlay = 20;
            traffic.leaked = 40;
            traffic.leaked_early = 20;
            traffic.asking_out = 0;
        }
    });
}

#[test]
fn a_cluster_wide_blackhole_under_more_specific_routes() {
    for kind in [RouteKind::Blackhole, RouteKind::Unreachable, RouteKind::Prohibit] {
        assert_healthy(3, |evidence, _| {
            tables(evidence).routes.push(refusing("10.244.0.0/16".parse().unwrap(), kind));
        });
    }
}

#[test]
fn a_refusing_default_in_a_table_of_its_own_while_pods_are_refused_for_another_reason() {
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::Tables) };
    let mut evidence = plan.evidence();
    let closed = refusing("0.0.0.0/0".parse().unwrap(), RouteKind::Unreachable);
    tables(&mut evidence).routes.push(Route { table: 52, ..closed });
    for answer in &mut tables(&mut evidence).answers {
        if answer.origin == crate::evidence::Origin::Pods {
            answer.outcome = crate::evidence::RouteOutcome::Refused(113);
        }
    }
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

#[test]
fn routes_of_a_vpn_in_a_table_of_its_own() {
    assert_healthy(3, |evidence, plan| {
        let tailnet: IpNet = "100.101.102.103/32".parse().unwrap();
        tables(evidence).routes.push(Route { table: 52, ..via(tailnet, None, UPLINK) });
        let lan: IpNet = "10.1.0.0/16".parse().unwrap();
        tables(evidence).routes.push(via(lan, Some(plan.gateway()), UPLINK));
        let lan: IpNet = "10.244.200.0/24".parse().unwrap();
        tables(evidence).routes.push(via(lan, Some(plan.gateway()), UPLINK));
    });
}

#[test]
fn a_network_behind_the_default_gateway_is_no_peer() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let lan: IpNet = "10.244.200.0/24".parse().unwrap();
    tables(&mut evidence).routes.push(via(lan, Some(plan.gateway()), UPLINK));
    assert_eq!(judge(&mut evidence).peers.len(), 2);
}

#[test]
fn a_route_of_a_vpn_to_a_pod_cidr_that_nobody_owns() {
    assert_healthy(3, |evidence, _| {
        let cidr: IpNet = "10.244.77.0/24".parse().unwrap();
        let route = via(cidr, "100.64.0.1".parse().ok(), UPLINK);
        tables(evidence).routes.push(Route { table: 52, ..route });
    });
}

#[test]
fn other_vxlan_devices_beside_flannels() {
    assert_healthy(3, |evidence, plan| {
        let tables = tables(evidence);
        let mut calico = link(40, "vxlan.calico", Some("vxlan"));
        calico.vxlan = vxlan(4096, 4789, false, false);
        let mut docker = link(41, "vx-001001-abc", Some("vxlan"));
        docker.vxlan = vxlan(4097, 4789, true, false);
        let mut twin = link(42, "flannel-v6.1", Some("vxlan"));
        twin.vxlan = vxlan(1, 8472, false, false);
        tables.links.extend([calico, docker, twin]);
        tables.addresses.push(address(40, "10.99.3.0", 32));
        tables.addresses.push(address(42, "fd00:244:0:1::", 128));
        let entry = fdb(mac(70), plan.node_ip(0));
        tables.fdb.push(crate::evidence::FdbEntry { ifindex: 40, ..entry });
    });
}

#[test]
fn the_roles_stay_with_flannels_device_beside_others() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let mut calico = link(40, "vxlan.calico", Some("vxlan"));
    calico.vxlan = vxlan(4096, 4789, false, false);
    tables(&mut evidence).links.push(calico);
    judge(&mut evidence);
    assert_eq!(evidence.roles.overlay, Some(OVERLAY));
}

#[test]
fn a_peer_that_changed_its_mac_once() {
    assert_healthy(3, |evidence, plan| {
        tables(evidence).fdb.push(fdb(mac(91), plan.node_ip(plan.hit())));
    });
}

#[test]
fn a_link_local_address_of_an_older_mac_over_full_tables() {
    assert_healthy(3, |evidence, _| {
        let links = &mut tables(evidence).links;
        links.iter_mut().find(|link| link.index == OVERLAY).unwrap().mac = Some(mac(99));
    });
}

#[test]
fn ipv6_noise_and_arp_of_a_load_balancer_on_the_overlay_device() {
    assert_healthy(3, |evidence, _| {
        let tables = tables(evidence);
        for (address, state) in [
            ("fe80::aaaa", NeighbourState::Failed),
            ("fe80::bbbb", NeighbourState::Stale),
            ("ff02::2", NeighbourState::NoArp),
            ("192.168.1.100", NeighbourState::Stale),
            ("192.168.1.101", NeighbourState::Incomplete),
            ("172.16.5.9", NeighbourState::Reachable),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let entry = neighbour(OVERLAY, address, mac(200));
            tables.neighbours.push(crate::evidence::Neighbour { state, ..entry });
        }
    });
}

#[test]
fn a_pod_that_only_sends() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let out = |packets| StageCounts {
        pod_out: packets,
        overlay_out: packets,
        wire_out: packets,
        ..StageCounts::default()
    };
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.packets = out(400);
    traffic.early = out(200);
    traffic.asking_out = 0;
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert_eq!(diagnosis.peers[1].state, PeerState::OneWayOut);
}

#[test]
fn packets_lost_in_one_half_of_the_window_only() {
    assert_healthy(3, |evidence, plan| {
        if let Some(traffic) = peer_traffic(evidence, plan.hit_cidr()) {
            traffic.lost.overlay_to_wire = 5;
            traffic.lost_early.overlay_to_wire = 5;
            traffic.lost.wire_to_overlay = 5;
            traffic.lost.overlay_to_pod = 2;
            traffic.lost_early.overlay_to_pod = 1;
        }
    });
}

#[test]
fn a_foreign_program_that_ends_the_chain_before_ours() {
    let told_with = |foreign: &[&str]| {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
        (traffic.packets.wire_out, traffic.early.wire_out) = (0, 0);
        (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire) = (40, 20);
        let hooks = evidence.hooks.iter_mut().filter(|hook| hook.ifindex == UPLINK);
        let egress = hooks.filter(|hook| hook.direction == HookDirection::Egress);
        egress.for_each(|hook| hook.foreign = foreign.iter().map(|it| (*it).to_owned()).collect());
        diagnose(&evidence)
    };
    assert_eq!(told(&told_with(&[])), ["unexplained-loss 10.244.2.0/24"]);
    let hidden = told_with(&["u32 filter of priority 49152"]);
    assert_eq!(told(&hidden), [""; 0]);
    assert_eq!(hidden.peers[1].state, PeerState::Ok);
    let line = "losses before egress of eth0: u32 filter of priority 49152 may end a packet's way";
    assert!(hidden.unseen.iter().any(|it| it.starts_with(line)), "{:?}", hidden.unseen);
}

#[test]
fn an_uplink_that_cannot_be_watched_loses_nothing() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.packets.wire_out, traffic.early.wire_out) = (0, 0);
    (traffic.lost.overlay_to_wire, traffic.lost_early.overlay_to_wire) = (40, 20);
    evidence.hooks.retain(|hook| hook.ifindex != UPLINK);
    let diagnosis = diagnose(&evidence);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 2);
}

#[test]
fn a_foreign_program_at_ingress_makes_silence_prove_nothing() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.packets.wire_in, traffic.packets.overlay_in, traffic.packets.pod_in) = (0, 0, 0);
    traffic.early = StageCounts { wire_in: 0, overlay_in: 0, pod_in: 0, ..traffic.early };
    assert_eq!(told(&diagnose(&evidence)), ["tunnel-one-way 10.244.2.0/24"]);
    let hooks = evidence.hooks.iter_mut().filter(|hook| hook.direction == HookDirection::Ingress);
    hooks.for_each(|hook| hook.foreign = vec!["TCX program other".to_owned()]);
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

#[test]
fn flows_born_in_the_window_and_flows_to_the_outside() {
    assert_healthy(3, |evidence, plan| {
        let source = nth_address(plan.own_cidr(), 9);
        let Some(traffic) = &mut evidence.traffic else { return };
        traffic.flows.push(Flow {
            born_in_window: true,
            ..flow_of(
                DropFlow {
                    source,
                    destination: "198.51.100.7".parse().unwrap(),
                    protocol: 17,
                    source_port: 5000,
                    destination_port: 53,
                },
                StageCounts { pod_out: 50, ..StageCounts::default() },
            )
        });
    });
}

#[test]
fn an_ipv6_peer_of_another_device_is_not_asked_of_this_one() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    let mut peer = plan.peer_intent(2);
    peer.pod_cidr = "fd00:244:0:2::/64".parse().unwrap();
    peer.node_ip = "fd00:77::12".parse().unwrap();
    peer.vtep_mac = None;
    evidence.intent.peers.push(peer);
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}

#[test]
fn a_learning_device_or_a_default_entry_needs_no_entry_for_a_mac() {
    for nodes in [2, 3] {
        assert_healthy(nodes, |evidence, plan| {
            let tables = tables(evidence);
            tables.fdb.retain(|entry| entry.mac != mac(plan.hit()));
            tables.fdb.push(fdb(crate::evidence::MacAddress::ZERO, plan.node_ip(plan.hit())));
        });
    }
}
