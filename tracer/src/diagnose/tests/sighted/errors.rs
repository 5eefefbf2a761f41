//! ICMP errors: what peers and firewalls say, and what routers and hosts say all day.

use super::{
    super::super::{
        PeerState, Severity,
        testing::{POLICY, peer_traffic},
    },
    *,
};
use crate::evidence::RouteKind;

#[test]
fn a_peer_whose_node_says_that_nothing_listens() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        silence(&mut evidence, &plan, plan.hit());
        let node = plan.node_ip(plan.hit());
        see(&mut evidence, "eth0", error(node, (3, 3), outer(&plan, node, 8472)), 4);
        let expected = format!("peer-vtep-not-listening {}", plan.hit_cidr());
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert_eq!(diagnosis.findings[0].subject.peer, Some(node));
        assert_eq!(diagnosis.peers.last().unwrap().state, PeerState::Broken);
    }
}

#[test]
fn a_firewall_at_the_peer_or_on_the_way_rejects_the_tunnel() {
    for plan in plans(&[2, 3, 5]) {
        for code in [9, 10, 13] {
            for sender in [plan.node_ip(plan.hit()), plan.gateway()] {
                let mut evidence = plan.evidence();
                silence(&mut evidence, &plan, plan.hit());
                let quoted = outer(&plan, plan.node_ip(plan.hit()), 8472);
                see(&mut evidence, "eth0", error(sender, (3, code), quoted), 4);
                let expected = format!("fw-rejects-vxlan {}", plan.hit_cidr());
                assert_one(&mut evidence, &expected, Severity::Critical);
            }
        }
    }
}

#[test]
fn a_firewall_of_the_peer_rejects_what_it_forwards() {
    for plan in plans(&[2, 3, 5]) {
        for code in [3, 9, 10, 13] {
            let mut evidence = plan.evidence();
            let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
            (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (10, 5);
            let quoted = inner(&plan, pod(&plan), 6, 80);
            let sender = plan.hit_cidr().network();
            see(&mut evidence, "flannel.1", error(sender, (3, code), quoted), 10);
            let expected = format!("fw-rejects-forwarded-pod-traffic {}", plan.hit_cidr());
            let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
            let lines = &diagnosis.findings[0].evidence;
            assert!(lines[1].ends_with("TCP 80"), "{lines:?}");
        }
    }
}

#[test]
fn this_nodes_firewall_rejects_what_it_forwards() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
        (traffic.lost.pod_to_overlay, traffic.lost_early.pod_to_overlay) = (10, 5);
        let sender = nth_address(plan.own_cidr(), 1);
        let quoted = inner(&plan, pod(&plan), 17, 53);
        see(&mut evidence, "cni0", error(sender, (3, 13), quoted), 10);
        let expected = format!("fw-rejects-forwarded-pod-traffic {}", plan.hit_cidr());
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert!(diagnosis.findings[0].title.starts_with("This node's firewall"));
    }
}

#[test]
fn a_prohibit_route_says_the_same_and_is_told_as_what_it_is() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        super::super::injections::blackhole(&mut evidence, &plan, RouteKind::Prohibit);
        let sender = nth_address(plan.own_cidr(), 1);
        see(&mut evidence, "cni0", error(sender, (3, 13), inner(&plan, pod(&plan), 6, 80)), 10);
        let expected = format!("pod-route-blackholed {}", plan.hit_cidr());
        assert_one(&mut evidence, &expected, Severity::Critical);
    }
}

#[test]
fn a_rejection_that_a_network_policy_may_mean_is_told_in_words_only() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        evidence.intent.policy_elsewhere.push(POLICY.to_owned());
        let sender = plan.hit_cidr().network();
        see(&mut evidence, "flannel.1", error(sender, (3, 3), inner(&plan, pod(&plan), 6, 80)), 10);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0]);
        assert!(diagnosis.unseen.iter().any(|line| line.contains(POLICY)));
    }
}

#[test]
fn errors_that_say_something_else_or_are_about_something_else() {
    assert_healthy(3, |evidence, plan| {
        let node = plan.node_ip(plan.hit());
        let tunnel = outer(plan, node, 8472);
        // Traceroute of the tunnel, a router that finds no host, and one that knows of no port.
        see(evidence, "eth0", error(plan.gateway(), (11, 0), tunnel), 100);
        see(evidence, "eth0", error(plan.gateway(), (3, 1), tunnel), 100);
        see(evidence, "eth0", error(plan.gateway(), (3, 3), tunnel), 100);
        // Another service of the node, somebody else's packets, another host.
        see(evidence, "eth0", error(node, (3, 3), outer(plan, node, 514)), 100);
        let of_others = DropFlow { source: plan.node_ip(90), ..tunnel };
        see(evidence, "eth0", error(node, (3, 3), of_others), 100);
        see(evidence, "eth0", error(node, (3, 13), of_others), 100);
        let host = plan.node_ip(91);
        see(evidence, "eth0", error(host, (3, 3), outer(plan, host, 8472)), 100);
        see(evidence, "eth0", error(host, (3, 13), outer(plan, host, 8472)), 100);
    });
}

#[test]
fn errors_inside_the_tunnel_that_are_no_firewalls() {
    assert_healthy(3, |evidence, plan| {
        let flannel = plan.hit_cidr().network();
        let ports = inner(plan, pod(plan), 17, 33_434);
        // Traceroute by a pod, and a pod that is gone.
        see(evidence, "flannel.1", error(flannel, (11, 0), ports), 100);
        see(evidence, "flannel.1", error(pod(plan), (3, 3), ports), 100);
        see(evidence, "flannel.1", error(flannel, (3, 1), ports), 100);
        // A closed port of the node, called by its address in the tunnel or on its bridge.
        see(evidence, "flannel.1", error(flannel, (3, 3), inner(plan, flannel, 17, 514)), 100);
        let bridge = nth_address(plan.hit_cidr(), 1);
        see(evidence, "flannel.1", error(bridge, (3, 3), inner(plan, bridge, 17, 514)), 100);
        // This node about itself, about a service, and about the outside.
        let own = nth_address(plan.own_cidr(), 1);
        for target in [own, "10.96.0.10".parse().unwrap(), OUTSIDE.parse().unwrap()] {
            see(evidence, "cni0", error(own, (3, 3), inner(plan, target, 17, 53)), 100);
            see(evidence, "cni0", error(own, (3, 13), inner(plan, target, 6, 443)), 100);
        }
    });
}

#[test]
fn a_tunnel_that_is_refused_in_one_half_of_the_window() {
    for early in [0, 4] {
        assert_healthy(3, |evidence, plan| {
            let node = plan.node_ip(plan.hit());
            let flannel = plan.hit_cidr().network();
            let tunnel = outer(plan, node, 8472);
            see_early(evidence, "eth0", error(node, (3, 3), tunnel), 4, early);
            see_early(evidence, "eth0", error(node, (3, 13), tunnel), 4, early);
            let quoted = inner(plan, pod(plan), 6, 80);
            see_early(evidence, "flannel.1", error(flannel, (3, 13), quoted), 4, early);
        });
    }
}
