//! Tunnels whose settings differ: VNI, port, header.

use super::{
    super::super::{
        PeerState, Severity,
        testing::{UPLINK, judge_ipv4, link, peer_traffic, tables},
    },
    *,
};
use crate::evidence::{DontFragment, Vxlan};

fn other_vni(plan: &Plan, node: u8, vni: u32) -> Sight {
    Sight::OtherVni { source: plan.node_ip(node), vni }
}

fn other_port(plan: &Plan, node: u8, port: u16, vni: u32) -> Sight {
    Sight::OtherPort { source: plan.node_ip(node), port, vni }
}

/// A VXLAN device of others.
fn add_vxlan(evidence: &mut Evidence, vni: u32, port: u16, external: bool) {
    add(evidence, "vxlan.calico", Vxlan { external, ..vxlan(vni, port) });
}

/// flannel's device of the other IP version, which has the settings of the cluster.
fn add_flannel_v6(evidence: &mut Evidence, vni: u32, port: u16) {
    let local = Some("fd00::1".parse().unwrap());
    add(evidence, "flannel-v6.1", Vxlan { local, ..vxlan(vni, port) });
}

fn vxlan(vni: u32, port: u16) -> Vxlan {
    Vxlan {
        vni,
        port,
        local: None,
        link: Some(UPLINK),
        learning: false,
        external: false,
        gbp: false,
        df: DontFragment::Unset,
    }
}

fn add(evidence: &mut Evidence, name: &str, vxlan: Vxlan) {
    let mut other = link(40, name, Some("vxlan"));
    other.vxlan = Some(vxlan);
    tables(evidence).links.push(other);
}

#[test]
fn a_peer_that_sends_another_vni() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        silence(&mut evidence, &plan, plan.hit());
        see(&mut evidence, "eth0", other_vni(&plan, plan.hit(), 7), 20);
        let expected = format!("vni-mismatch {}", plan.hit_cidr());
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert_eq!(diagnosis.peers.last().unwrap().state, PeerState::Broken);
        assert_eq!(diagnosis.findings[0].impact.packets, 30, "what asked and got no answer");
    }
}

/// Connections whose answers are lost: conntrack calls what pods still send of them invalid, and
/// kube-proxy has that dropped. Most of what they send is another matter.
#[test]
fn few_packets_that_end_before_the_tunnel_follow_from_answers_that_are_lost() {
    for (lost, others) in [(5, 0), (30, 1)] {
        for plan in plans(&[2, 3]) {
            let mut evidence = plan.evidence();
            silence(&mut evidence, &plan, plan.hit());
            see(&mut evidence, "eth0", other_vni(&plan, plan.hit(), 7), 20);
            let Some(traffic) = peer_traffic(&mut evidence, plan.hit_cidr()) else { continue };
            traffic.lost.pod_to_overlay = lost;
            traffic.lost_early.pod_to_overlay = lost / 2;
            let found = told(&judge(&mut evidence));
            assert_eq!(found.len(), 1 + others, "{found:?}");
            assert_eq!(found[0], format!("vni-mismatch {}", plan.hit_cidr()));
        }
    }
}

#[test]
fn where_all_peers_agree_on_another_vni_or_port_this_node_is_the_odd_one() {
    for plan in plans(&[3, 5]) {
        let tell = |sight: fn(&Plan, u8) -> Sight, expected: &str| {
            let mut evidence = plan.evidence();
            for node in plan.peers() {
                silence(&mut evidence, &plan, node);
                see(&mut evidence, "eth0", sight(&plan, node), 20);
            }
            let diagnosis = assert_one(&mut evidence, expected, Severity::Critical);
            assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
        };
        tell(|plan, node| other_vni(plan, node, 7), "vni-mismatch flannel.1");
        tell(|plan, node| other_port(plan, node, 4789, 1), "vxlan-port-mismatch flannel.1");
    }
}

/// In dual stack one of flannel's two devices was made with another setting: the other takes nothing
/// of this one's.
#[test]
fn the_device_of_the_other_ip_version_takes_nothing_of_this_one() {
    for plan in plans(&[3, 5]) {
        let tell = |sight: fn(&Plan, u8) -> Sight, (vni, port): (u32, u16), expected: &str| {
            let mut evidence = plan.evidence();
            for node in plan.peers() {
                silence(&mut evidence, &plan, node);
                see(&mut evidence, "eth0", sight(&plan, node), 20);
            }
            add_flannel_v6(&mut evidence, vni, port);
            assert_eq!(told(&judge_ipv4(&mut evidence)), [expected]);
        };
        tell(|plan, node| other_vni(plan, node, 7), (7, 8472), "vni-mismatch flannel.1");
        let port = "vxlan-port-mismatch flannel.1";
        tell(|plan, node| other_port(plan, node, 4789, 1), (1, 4789), port);
    }
}

#[test]
fn peers_that_differ_among_each_other_are_told_one_by_one() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        for node in plan.peers() {
            silence(&mut evidence, &plan, node);
            see(&mut evidence, "eth0", other_vni(&plan, node, 7 + u32::from(node)), 20);
        }
        let expected = [0, 2].map(|node| format!("vni-mismatch {}", plan.cidr(node)));
        assert_eq!(told(&judge(&mut evidence)), expected);
    }
}

#[test]
fn a_peer_that_sends_to_another_port_and_refuses_this_nodes() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        silence(&mut evidence, &plan, plan.hit());
        let node = plan.node_ip(plan.hit());
        see(&mut evidence, "eth0", other_port(&plan, plan.hit(), 4789, 1), 20);
        see(&mut evidence, "eth0", error(node, (3, 3), outer(&plan, node, 8472)), 5);
        let expected = format!("vxlan-port-mismatch {}", plan.hit_cidr());
        assert_one(&mut evidence, &expected, Severity::Critical);
    }
}

#[test]
fn a_peer_whose_headers_the_device_refuses() {
    for plan in plans(&[2, 3, 5]) {
        for flags in [0x8800_0000, 0x0800_0080, 0] {
            let mut evidence = plan.evidence();
            let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
            (traffic.packets.overlay_in, traffic.early.overlay_in) = (0, 0);
            (traffic.packets.pod_in, traffic.early.pod_in) = (0, 0);
            (traffic.lost.wire_to_overlay, traffic.lost_early.wire_to_overlay) = (40, 20);
            let source = plan.node_ip(plan.hit());
            see(&mut evidence, "eth0", Sight::BadHeader { source, flags }, 40);
            let expected = format!("vxlan-header-malformed {}", plan.hit_cidr());
            assert_one(&mut evidence, &expected, Severity::Warning);
        }
    }
}

#[test]
fn tunnels_of_a_cluster_nearby_are_none_of_this_ones() {
    assert_healthy(3, |evidence, plan| {
        let source = plan.node_ip(90);
        see(evidence, "eth0", other_vni(plan, 90, 7), 2000);
        see(evidence, "eth0", other_port(plan, 90, 4789, 1), 2000);
        see(evidence, "eth0", Sight::BadHeader { source, flags: 0 }, 2000);
        silence(evidence, plan, plan.hit());
        peer_traffic(evidence, plan.hit_cidr()).unwrap().asking_out = 0;
    });
}

#[test]
fn another_tunnel_of_a_peer_beside_flannels() {
    // Flannel's own packets come as well.
    assert_healthy(3, |evidence, plan| {
        see(evidence, "eth0", other_vni(plan, plan.hit(), 4096), 2000);
        see(evidence, "eth0", other_port(plan, plan.hit(), 4789, 1), 2000);
    });
    // Nothing of flannel's comes just now, and a device of this node takes the others.
    for (vni, external) in [(4096, false), (0, true)] {
        assert_healthy(3, |evidence, plan| {
            silence(evidence, plan, plan.hit());
            peer_traffic(evidence, plan.hit_cidr()).unwrap().asking_out = 0;
            add_vxlan(evidence, vni, 8472, external);
            see(evidence, "eth0", other_vni(plan, plan.hit(), 4096), 2000);
        });
    }
    assert_healthy(3, |evidence, plan| {
        silence(evidence, plan, plan.hit());
        peer_traffic(evidence, plan.hit_cidr()).unwrap().asking_out = 0;
        add_vxlan(evidence, 1, 4789, false);
        see(evidence, "eth0", other_port(plan, plan.hit(), 4789, 1), 2000);
    });
    // Docker's overlay has its devices in namespaces of its own, and other VNIs.
    assert_healthy(3, |evidence, plan| {
        silence(evidence, plan, plan.hit());
        peer_traffic(evidence, plan.hit_cidr()).unwrap().asking_out = 0;
        see(evidence, "eth0", other_port(plan, plan.hit(), 4789, 4097), 2000);
    });
}

#[test]
fn a_restart_with_other_settings_in_one_half_of_the_window() {
    for early in [0, 20] {
        assert_healthy(3, |evidence, plan| {
            silence(evidence, plan, plan.hit());
            peer_traffic(evidence, plan.hit_cidr()).unwrap().asking_out = 0;
            let source = plan.node_ip(plan.hit());
            let bad = Sight::BadHeader { source, flags: 0 };
            see_early(evidence, "eth0", other_vni(plan, plan.hit(), 7), 20, early);
            see_early(evidence, "eth0", other_port(plan, plan.hit(), 4789, 1), 20, early);
            see_early(evidence, "eth0", bad, 20, early);
        });
    }
}
