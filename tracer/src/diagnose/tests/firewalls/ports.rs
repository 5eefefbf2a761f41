//! `fw-drops-forwarded-pod-traffic` where pods are attached, and what is dropped there without harm.

use super::{
    super::{
        super::testing::{BRIDGE, POLICY, VETH, flow_of, link, tables},
        injections::down_bridge,
    },
    *,
};

/// IANA's protocol number.
const ICMP: u8 = 1;
const PORT: &str = "veth5e1f";
const OTHER_PORT: &str = "vethb0a7";
const AT_PORT: &str = "fw-drops-forwarded-pod-traffic cni0";

/// A second pod of this node.
fn second_pod(plan: &Plan) -> IpAddr {
    nth_address(plan.own_cidr(), 10)
}

/// Two pods are attached.
fn attach(evidence: &mut Evidence) {
    let port = |index, name| {
        let mut port = link(index, name, Some("veth"));
        port.master = Some(BRIDGE);
        port
    };
    let ports = [port(VETH + 40, PORT), port(VETH + 41, OTHER_PORT)];
    tables(evidence).links.extend(ports);
}

fn from_peer(plan: &Plan, interface: &str) -> Drop {
    datagram(nth_address(plan.hit_cidr(), 5), pod(plan), interface)
}

fn to_peer(plan: &Plan, interface: &str) -> Drop {
    datagram(pod(plan), nth_address(plan.hit_cidr(), 5), interface)
}

/// The pod answers what came.
fn answer(evidence: &mut Evidence, dropped: &Drop) {
    let DropFlow { source, destination, source_port, destination_port, protocol } =
        dropped.flow.unwrap();
    let name = DropFlow {
        source: destination,
        destination: source,
        protocol,
        source_port: destination_port,
        destination_port: source_port,
    };
    let packets = StageCounts { pod_out: 9, overlay_out: 9, wire_out: 9, ..StageCounts::default() };
    evidence.traffic.as_mut().unwrap().flows.push(flow_of(name, packets));
}

#[test]
fn what_a_filter_drops_at_a_pods_port_is_told_with_the_pod() {
    for way in [from_peer, to_peer] {
        for age in [|drop| drop, without_reason] {
            for plan in plans(&[3]) {
                let mut evidence = plan.evidence();
                attach(&mut evidence);
                drop_also(&mut evidence, [age(way(&plan, PORT))]);
                let diagnosis = assert_one(&mut evidence, AT_PORT, Severity::Critical);
                assert_eq!(diagnosis.drop_causes, ["fw-drops-forwarded-pod-traffic"]);
                let finding = &diagnosis.findings[0];
                assert_eq!((finding.impact.packets, finding.impact.flows), (PACKETS, 1));
                assert!(finding.title.contains(&format!("pod {}", pod(&plan))), "{finding:#?}");
            }
        }
    }
}

/// An echo request came to the pod, and its reply is dropped; `others` passed to others.
fn reply(evidence: &mut Evidence, plan: &Plan, others: u64) -> Drop {
    let dropped = with_ports(to_peer(plan, PORT), ICMP, 0, 77);
    let reply = dropped.flow.unwrap();
    let (source, destination) = (reply.destination, reply.source);
    let request = DropFlow { source, destination, source_port: 8, ..reply };
    let delivered = StageCounts { wire_in: 9, overlay_in: 9, pod_in: 9, ..StageCounts::default() };
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    flows.push(flow_of(request, delivered));
    if others > 0 {
        let passed = StageCounts { pod_out: others, ..StageCounts::default() };
        flows.push(flow_of(DropFlow { destination_port: 78, ..reply }, passed));
    }
    dropped
}

#[test]
fn answers_of_a_pod_that_reach_nobody_are_told_and_late_ones_of_one_that_answers_are_not() {
    for (others, expected) in [(0, &[AT_PORT][..]), (3, &[])] {
        assert_told(expected, |evidence, plan| {
            attach(evidence);
            let dropped = reply(evidence, plan, others);
            drop_also(evidence, [dropped]);
        });
    }
}

#[test]
fn answers_to_nobody_are_no_loss() {
    assert_told(&[], |evidence, plan| {
        attach(evidence);
        drop_also(evidence, [with_ports(to_peer(plan, PORT), ICMP, 0, 77)]);
    });
}

#[test]
fn at_several_ports_it_is_one_finding() {
    assert_told(&[AT_PORT], |evidence, plan| {
        attach(evidence);
        let second = datagram(nth_address(plan.hit_cidr(), 5), second_pod(plan), OTHER_PORT);
        drop_also(evidence, [from_peer(plan, PORT), second]);
    });
}

#[test]
fn a_flooded_copy_whose_original_was_answered_is_no_loss() {
    assert_told(&[], |evidence, plan| {
        attach(evidence);
        let copy = from_peer(plan, OTHER_PORT);
        answer(evidence, &copy);
        drop_also(evidence, [copy]);
    });
}

#[test]
fn what_is_dropped_between_pods_of_one_node_or_for_others_is_not_of_the_tunnel() {
    assert_told(&[], |evidence, plan| {
        attach(evidence);
        let between = datagram(pod(plan), second_pod(plan), PORT);
        let outside = datagram("198.51.100.7".parse().unwrap(), pod(plan), PORT);
        drop_also(evidence, [between, outside]);
    });
}

#[test]
fn a_device_that_is_no_port_of_the_bridge_is_not_where_pods_are() {
    assert_told(&[], |evidence, plan| {
        attach(evidence);
        tables(evidence).links.iter_mut().for_each(|link| link.master = None);
        drop_also(evidence, [from_peer(plan, PORT)]);
    });
}

#[test]
fn what_one_filter_drops_at_a_port_is_one_finding_wherever_it_goes() {
    assert_told(&[AT_PORT], |evidence, plan| {
        attach(evidence);
        let to_node = datagram(pod(plan), nth_address(plan.own_cidr(), 1), PORT);
        let outside = datagram(pod(plan), "198.51.100.7".parse().unwrap(), PORT);
        drop_also(evidence, [to_peer(plan, PORT), to_node, outside]);
    });
}

#[test]
fn a_pod_that_reaches_all_but_the_outside_is_told_so() {
    assert_told(&["egress-dropped n1"], |evidence, plan| {
        attach(evidence);
        drop_also(evidence, [datagram(pod(plan), "198.51.100.7".parse().unwrap(), PORT)]);
    });
}

#[test]
fn datagrams_to_a_pod_that_nobody_answers_may_be_copies() {
    assert_unseen("copies that the bridge had flooded", |evidence, plan| {
        attach(evidence);
        drop_also(evidence, [with_ports(from_peer(plan, PORT), UDP, 40_000, 514)]);
    });
}

#[test]
fn where_flows_are_left_out_an_answer_may_be_among_them() {
    for drop in [from_peer, to_peer] {
        assert_unseen("copies that the bridge had flooded", |evidence, plan| {
            attach(evidence);
            evidence.traffic.as_mut().unwrap().flows_left_out = 1;
            drop_also(evidence, [drop(plan, PORT)]);
        });
    }
}

#[test]
fn what_is_no_filters_is_as_lost_at_a_port_as_elsewhere() {
    let plan = Plan::of(3, PASSES[1]);
    let mut evidence = plan.evidence();
    attach(&mut evidence);
    down_bridge(&mut evidence, &plan);
    let reason = Some("BRIDGE_INGRESS_STP_STATE".to_owned());
    let symbol = Some("br_handle_frame".to_owned());
    drop_also(&mut evidence, [Drop { reason, symbol, ..to_peer(&plan, PORT) }]);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["cni0-down cni0"], "{diagnosis:#?}");
    assert_eq!(diagnosis.drop_causes, ["cni0-down"]);
}

/// As 5.10 has it, which gives no reasons.
#[test]
fn what_the_bridges_first_hook_drops_is_a_filters_unless_the_bridge_is_down() {
    let symbol = || Some("br_handle_frame".to_owned());
    assert_told(&[AT_PORT], |evidence, plan| {
        attach(evidence);
        drop_also(evidence, [Drop { reason: None, symbol: symbol(), ..to_peer(plan, PORT) }]);
    });
    assert_told(&["cni0-down cni0"], |evidence, plan| {
        attach(evidence);
        down_bridge(evidence, plan);
        drop_also(evidence, [Drop { reason: None, symbol: symbol(), ..to_peer(plan, PORT) }]);
    });
}

#[test]
fn network_policies_have_no_hooks_at_ports() {
    assert_told(&[AT_PORT], |evidence, plan| {
        attach(evidence);
        evidence.intent.policy_netfilter = vec![POLICY.to_owned()];
        drop_also(evidence, [from_peer(plan, PORT)]);
    });
}
