//! The node's own end of the tunnel and what lies below it: source address, uplinks, the nodes of
//! the peers, the tunnel's port, the kernel.

use std::net::IpAddr;

use super::{
    super::{
        PeerState, Severity, exit_status,
        testing::{
            OVERLAY, PASSES, Pass, Plan, UPLINK, address, judge, judge_ipv4, link, neighbour,
            peer_traffic, tables, told, uplink_mac, via,
        },
    },
    injections::{delete_overlay, down_overlay},
};
use crate::evidence::{
    Evidence, Losses, MacAddress, ModuleState, Neighbour, NeighbourState, StageCounts, UdpSocket,
    Vxlan,
};

const OTHER: u32 = 30;

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

/// Packets of some peers pass the overlay device and never reach the uplink.
pub(super) fn lose_beyond_overlay(
    evidence: &mut Evidence,
    plan: &Plan,
    peers: impl Iterator<Item = u8>,
) {
    for node in peers {
        if let Some(traffic) = peer_traffic(evidence, plan.cidr(node)) {
            let counts = |packets| StageCounts {
                pod_out: packets,
                overlay_out: packets,
                ..StageCounts::default()
            };
            (traffic.packets, traffic.early) = (counts(40), counts(20));
            traffic.lost = Losses { overlay_to_wire: 40, ..Losses::default() };
            traffic.lost_early = Losses { overlay_to_wire: 20, ..Losses::default() };
            traffic.asking_out = 0;
            (traffic.outer_source, traffic.inner_source_mac) = (None, None);
        }
    }
}

/// The kernel removes the routes of a device that goes down, or that loses its last address.
fn remove_uplink_routes(evidence: &mut Evidence) {
    tables(evidence)
        .routes
        .retain(|route| route.next_hops.iter().all(|hop| hop.ifindex != Some(UPLINK)));
}

fn remove_uplink_address(evidence: &mut Evidence, plan: &Plan) {
    tables(evidence).addresses.retain(|address| address.ifindex != UPLINK);
    remove_uplink_routes(evidence);
    lose_beyond_overlay(evidence, plan, plan.peers());
}

fn set_uplink_down(evidence: &mut Evidence, plan: &Plan) {
    let uplink = tables(evidence).links.iter_mut().find(|link| link.index == UPLINK).unwrap();
    (uplink.up, uplink.lower_up) = (false, false);
    remove_uplink_routes(evidence);
    tables(evidence).neighbours.retain(|entry| entry.ifindex != UPLINK);
    lose_beyond_overlay(evidence, plan, plan.peers());
}

/// Without carrier routes and addresses stay, and every peer's node keeps silent.
fn take_carrier(evidence: &mut Evidence, plan: &Plan) {
    let uplink = tables(evidence).links.iter_mut().find(|link| link.index == UPLINK).unwrap();
    uplink.lower_up = false;
    for node in plan.peers() {
        set_node_entry(evidence, plan, node, NeighbourState::Failed, 5.0);
    }
    lose_beyond_overlay(evidence, plan, plan.peers());
}

/// Writes the uplink's neighbour entry for a peer's node.
pub(super) fn set_node_entry(
    evidence: &mut Evidence,
    plan: &Plan,
    node: u8,
    state: NeighbourState,
    age: f64,
) {
    let (node, its_mac) = (plan.node_ip(node), uplink_mac(node));
    let entry = neighbour(UPLINK, node, its_mac);
    let mac = entry.mac.filter(|_| state.is_valid());
    tables(evidence).neighbours.retain(|it| it.ifindex != UPLINK || it.address != node);
    tables(evidence).neighbours.push(Neighbour { mac, state, updated_age: Some(age), ..entry });
}

/// Everything is broken, by one finding about one device.
fn assert_breaks_all(fault: impl Fn(&mut Evidence, &Plan), code: &str, device: &str) {
    for plan in plans() {
        let mut evidence = plan.evidence();
        fault(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [format!("{code} {device}")], "{plan:?}");
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(finding.subject.interface.as_deref(), Some(device));
        assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken), "{plan:?}");
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Critical), 1);
    }
}

#[test]
fn a_tunnel_whose_source_address_is_gone() {
    assert_breaks_all(remove_uplink_address, "vtep-source-address-lost", "flannel.1");
    // The peers have not noticed yet, and go on sending.
    let while_peers_send = |evidence: &mut Evidence, plan: &Plan| {
        remove_uplink_address(evidence, plan);
        for peer in evidence.traffic.iter_mut().flat_map(|traffic| &mut traffic.peers) {
            (peer.packets.wire_in, peer.early.wire_in) = (30, 15);
            (peer.lost.wire_to_overlay, peer.lost_early.wire_to_overlay) = (30, 15);
        }
    };
    assert_breaks_all(while_peers_send, "vtep-source-address-lost", "flannel.1");
}

#[test]
fn a_tunnel_whose_source_address_was_replaced() {
    let replace = |evidence: &mut Evidence, plan: &Plan| {
        remove_uplink_address(evidence, plan);
        let own = plan.node_ip(77).to_string();
        let lan = format!("192.168.{}.0/24", plan.lan).parse().unwrap();
        let tables = tables(evidence);
        tables.addresses.push(address(UPLINK, &own, 24));
        tables.routes.push(via(lan, None, UPLINK));
        tables.routes.push(via("0.0.0.0/0".parse().unwrap(), Some(plan.gateway()), UPLINK));
    };
    assert_breaks_all(replace, "vtep-source-address-lost", "flannel.1");
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    replace(&mut evidence, &plan);
    let lines = &judge(&mut evidence).findings[0].evidence;
    assert!(lines[1].contains("eth0") && lines[1].contains("192.168.77.87"), "{lines:?}");
}

#[test]
fn a_source_address_that_moved_to_another_device_is_healthy() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        for address in &mut tables(&mut evidence).addresses {
            if address.ifindex == UPLINK {
                address.ifindex = OTHER;
            }
        }
        tables(&mut evidence).links.push(link(OTHER, "br0", Some("bridge")));
        tables(&mut evidence).links.iter_mut().for_each(|link| {
            if link.index == UPLINK {
                link.master = Some(OTHER);
            }
        });
        for route in &mut tables(&mut evidence).routes {
            for hop in route.next_hops.iter_mut().filter(|hop| hop.ifindex == Some(UPLINK)) {
                hop.ifindex = Some(OTHER);
            }
        }
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
    }
}

#[test]
fn an_uplink_that_is_down_or_has_no_carrier() {
    assert_breaks_all(set_uplink_down, "uplink-down", "eth0");
    assert_breaks_all(take_carrier, "uplink-down", "eth0");
}

#[test]
fn an_uplink_that_is_down_and_took_its_address_with_it() {
    let fault = |evidence: &mut Evidence, plan: &Plan| {
        set_uplink_down(evidence, plan);
        remove_uplink_address(evidence, plan);
    };
    assert_breaks_all(fault, "uplink-down", "eth0");
}

#[test]
fn an_uplink_that_is_down_while_another_leads_to_the_default_gateway() {
    let fault = |evidence: &mut Evidence, plan: &Plan| {
        set_uplink_down(evidence, plan);
        let tables = tables(evidence);
        tables.links.push(link(OTHER, "wlan0", None));
        tables.addresses.push(address(OTHER, "172.20.0.5", 24));
        let gateway = "172.20.0.1".parse().ok();
        tables.routes.push(via("0.0.0.0/0".parse().unwrap(), gateway, OTHER));
    };
    assert_breaks_all(fault, "uplink-down", "eth0");
}

#[test]
fn a_device_that_no_peer_is_behind_may_be_down() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        let tables = tables(&mut evidence);
        // The tunnel is bound to a card without a cable, and sends by the other.
        let mut spare = link(OTHER, "eth1", None);
        spare.lower_up = false;
        tables.links.push(spare);
        tables.addresses.push(address(OTHER, "172.20.0.5", 24));
        let overlay = tables.links.iter_mut().find(|link| link.index == OVERLAY).unwrap();
        overlay.vxlan.as_mut().unwrap().link = Some(OTHER);
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
    }
    let lone = Plan { seconds: 0.0, ..Plan::of(1, Pass::SubnetEnv) };
    let mut evidence = lone.evidence();
    set_uplink_down(&mut evidence, &lone);
    assert_eq!(told(&judge(&mut evidence)), [""; 0], "nobody is there to be reached");
}

#[test]
fn a_peer_whose_node_does_not_answer() {
    for plan in plans() {
        for (state, age) in [(NeighbourState::Failed, 0.0), (NeighbourState::Incomplete, 2.0)] {
            let mut evidence = plan.evidence();
            set_node_entry(&mut evidence, &plan, plan.hit(), state, age);
            lose_beyond_overlay(&mut evidence, &plan, [plan.hit()].into_iter());
            let diagnosis = judge(&mut evidence);
            let expected = format!("peer-node-unreachable-l2 {}", plan.hit_cidr());
            assert_eq!(told(&diagnosis), [expected], "{plan:?}");
            let finding = &diagnosis.findings[0];
            assert_eq!(finding.subject.peer, Some(plan.node_ip(plan.hit())));
            assert_eq!(finding.severity, Severity::Critical);
        }
    }
}

#[test]
fn a_peer_whose_node_is_asked_anew_all_the_time() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Incomplete, 0.01);
    lose_beyond_overlay(&mut evidence, &plan, [plan.hit()].into_iter());
    let expected = format!("peer-node-unreachable-l2 {}", plan.hit_cidr());
    assert_eq!(told(&judge(&mut evidence)), [expected]);
}

#[test]
fn a_peer_with_direct_routing_whose_node_does_not_answer() {
    for pass in PASSES {
        let plan = Plan { seconds: 0.0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        let node = plan.node_ip(plan.hit());
        let tables = tables(&mut evidence);
        tables.routes.retain(|route| route.destination != plan.hit_cidr());
        tables.routes.push(via(plan.hit_cidr(), Some(node), UPLINK));
        set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Failed, 1.0);
        let expected = format!("peer-node-unreachable-l2 {}", plan.hit_cidr());
        assert_eq!(told(&judge(&mut evidence)), [expected], "{pass:?}");
    }
}

#[test]
fn nodes_that_are_just_being_asked_for_and_failed_entries_of_others_are_healthy() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Incomplete, 0.01);
        for state in [NeighbourState::Failed, NeighbourState::Incomplete] {
            // A host of the LAN that is no node, and another device's view of a node.
            set_node_entry(&mut evidence, &plan, 90, state, 60.0);
            let node: IpAddr = plan.node_ip(plan.hit());
            let entry = neighbour(OTHER, node, MacAddress([2, 9, 9, 9, 9, 1]));
            tables(&mut evidence).neighbours.push(Neighbour { mac: None, state, ..entry });
        }
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
    }
}

/// The tunnel is bound to a second card and sends from its address.
fn bind_to_second_card(evidence: &mut Evidence, local: &str, length: u8) {
    let tables = tables(evidence);
    tables.links.push(link(OTHER, "eth1", None));
    tables.addresses.push(address(OTHER, local, length));
    let overlay = tables.links.iter_mut().find(|link| link.index == OVERLAY).unwrap();
    let vxlan = overlay.vxlan.as_mut().unwrap();
    (vxlan.link, vxlan.local) = (Some(OTHER), local.parse().ok());
}

#[test]
fn a_tunnel_that_is_bound_to_a_device_by_which_no_peer_is_reached() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        bind_to_second_card(&mut evidence, "10.0.2.15", 24);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), ["flannel-wrong-interface flannel.1"], "{plan:?}");
        assert_eq!(diagnosis.findings[0].severity, Severity::Warning);
        assert!(diagnosis.findings[0].remedy[0].contains("--iface=eth0"));
        assert!(diagnosis.peers.iter().all(|peer| peer.state != PeerState::Broken));
    }
}

#[test]
fn a_tunnel_bound_to_one_of_several_uplinks_is_healthy() {
    for plan in plans().into_iter().filter(|plan| plan.nodes > 2) {
        let mut evidence = plan.evidence();
        bind_to_second_card(&mut evidence, "10.0.2.15", 24);
        let node = plan.node_ip(plan.hit());
        tables(&mut evidence).routes.push(via(node.into(), None, OTHER));
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
    }
}

#[test]
fn a_tunnel_that_sends_from_a_routed_host_address_is_healthy() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        bind_to_second_card(&mut evidence, "10.255.0.1", 32);
        assert_eq!(told(&judge(&mut evidence)), [""; 0], "{plan:?}");
    }
}

fn add_vxlan(evidence: &mut Evidence, external: bool) {
    let mut other = link(OTHER, "cilium_vxlan", Some("vxlan"));
    other.vxlan = Some(Vxlan {
        vni: 0,
        port: 8472,
        local: None,
        link: None,
        learning: false,
        external,
        gbp: false,
        df: Default::default(),
    });
    tables(evidence).links.push(other);
}

fn bind_socket(evidence: &mut Evidence, address: &str, v6_only: bool) {
    let address = address.parse().unwrap();
    tables(evidence).udp_sockets.push(UdpSocket { address, port: 8472, v6_only });
}

#[test]
fn a_port_that_a_device_or_socket_of_others_holds() {
    let by_device = |evidence: &mut Evidence, plan: &Plan| {
        down_overlay(evidence, plan);
        add_vxlan(evidence, true);
        bind_socket(evidence, "0.0.0.0", false);
    };
    let by_socket = |evidence: &mut Evidence, plan: &Plan| {
        down_overlay(evidence, plan);
        bind_socket(evidence, "127.0.0.1", false);
    };
    let by_socket_of_both = |evidence: &mut Evidence, plan: &Plan| {
        down_overlay(evidence, plan);
        bind_socket(evidence, "::", false);
    };
    for fault in [by_device, by_socket, by_socket_of_both] {
        assert_breaks_all_known(fault, "vxlan-port-taken-by-other-cni flannel.1");
    }
}

/// As [`assert_breaks_all`], for faults with which peers may be unknown.
fn assert_breaks_all_known(fault: impl Fn(&mut Evidence, &Plan), expected: &str) {
    for plan in plans() {
        let mut evidence = plan.evidence();
        fault(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [expected], "{plan:?}");
        assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken), "{plan:?}");
    }
}

#[test]
fn a_device_that_shares_the_port_keeps_nobody_down() {
    let sharing = |evidence: &mut Evidence| {
        add_vxlan(evidence, false);
        bind_socket(evidence, "0.0.0.0", false);
    };
    let of_ipv6 = |evidence: &mut Evidence| bind_socket(evidence, "::", true);
    for (plan, bind) in plans().iter().flat_map(|it| [(it, sharing as fn(&mut _)), (it, of_ipv6)]) {
        let mut evidence = plan.evidence();
        down_overlay(&mut evidence, plan);
        bind(&mut evidence);
        assert_eq!(told(&judge_ipv4(&mut evidence)), ["flannel-link-down flannel.1"], "{plan:?}");
    }
}

#[test]
fn a_kernel_without_vxlan() {
    let fault = |evidence: &mut Evidence, plan: &Plan| {
        delete_overlay(evidence, plan);
        evidence.node.vxlan = ModuleState::Missing;
    };
    assert_breaks_all_known(fault, "vxlan-module-missing flannel.1");
    let plan = Plan { seconds: 0.0, ..Plan::of(3, Pass::SubnetEnv) };
    let mut evidence = plan.evidence();
    fault(&mut evidence, &plan);
    assert_eq!(judge(&mut evidence).findings[0].breaks, ["device flannel.1"]);
}

#[test]
fn a_kernel_with_vxlan_or_of_which_nothing_is_known_misses_the_device_alone() {
    for state in [ModuleState::Present, ModuleState::Unknown] {
        let fault = |evidence: &mut Evidence, plan: &Plan| {
            delete_overlay(evidence, plan);
            evidence.node.vxlan = state;
        };
        assert_breaks_all_known(fault, "flannel-link-missing flannel.1");
    }
    // The module's file was removed while its device is in use.
    let mut evidence = Plan::of(3, Pass::SubnetEnv).evidence();
    evidence.node.vxlan = ModuleState::Missing;
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}
