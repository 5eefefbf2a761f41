//! DNS servers that a node has itself, at an address of its own and at that of the DNS service, as
//! NodeLocal DNS does it.

use std::net::SocketAddr;

use super::{
    super::super::{
        Confidence,
        testing::{BRIDGE, Pass, address, judge_ipv4, link},
    },
    services::{SERVICE, ask, datagram_to, know, let_answer, service},
    *,
};
use crate::evidence::{Drop, Drops};

const PLAN: fn() -> Plan = || Plan::of(3, Pass::SubnetEnv);

/// Pods ask the node's own server in vain.
fn asked(plan: &Plan) -> Evidence {
    let mut evidence = plan.evidence();
    know(&mut evidence);
    tables(&mut evidence).addresses.push(address(BRIDGE, SERVICE, 32));
    ask(&mut evidence, service(), 9, None);
    evidence
}

/// The node answers that nobody listens, and its drops could be read or not.
fn closed(plan: &Plan, reads_drops: bool) -> Evidence {
    let mut evidence = asked(plan);
    let refused = error(service(), (3, 3), inner(plan, service(), 17, 53));
    see(&mut evidence, "cni0", refused, 5);
    evidence.drops = Some(Drops { headers_read: reads_drops, ..Drops::default() });
    evidence
}

fn is_open(evidence: &mut Evidence) -> bool {
    let diagnosis = judge_ipv4(evidence);
    assert_eq!(told(&diagnosis), [""; 0]);
    diagnosis.unseen.iter().any(|line| line.contains("the address is this node's own"))
}

#[test]
fn one_that_does_not_listen_is_no_service_without_endpoints() {
    for (reads_drops, confidence) in [(true, Confidence::Certain), (false, Confidence::Likely)] {
        let diagnosis = judge_ipv4(&mut closed(&PLAN(), reads_drops));
        assert_eq!(told(&diagnosis), [format!("dns-server-port-closed {SERVICE}")]);
        assert_eq!(diagnosis.findings[0].confidence, confidence);
    }
}

/// A query that a filter of the node drops.
fn query(plan: &Plan) -> Drop {
    datagram_to(nth_address(plan.own_cidr(), 9), SocketAddr::new(service(), 53))
}

#[test]
fn where_drops_may_be_missing_from_the_list_it_is_likely() {
    for change in [
        (|drops| drops.left_out = 1) as fn(&mut Drops),
        |drops| drops.flow_evictions = 1,
        |drops| drops.entries.push(Drop { flow: None, ..query(&PLAN()) }),
    ] {
        let mut evidence = closed(&PLAN(), true);
        change(evidence.drops.as_mut().unwrap());
        let diagnosis = judge_ipv4(&mut evidence);
        assert_eq!(told(&diagnosis), [format!("dns-server-port-closed {SERVICE}")]);
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!(finding.evidence.iter().any(|line| line.contains("refuse in its name")));
    }
}

/// One that holds on is fw-drops-pod-to-node, but where the node refuses in the server's name.
#[test]
fn what_a_filter_refuses_in_its_name_is_no_closed_port() {
    let plan = PLAN();
    for packets in [1, 10] {
        let mut evidence = closed(&plan, true);
        let drop = Drop { packets, early: packets / 2, ..query(&plan) };
        evidence.drops.as_mut().unwrap().entries.push(drop);
        assert!(is_open(&mut evidence), "{packets}");
    }
}

#[test]
fn what_a_filter_drops_on_the_way_to_it_is_told_once_with_the_service_network_or_without() {
    let plan = PLAN();
    for knows in [true, false] {
        let mut evidence = asked(&plan);
        if !knows {
            evidence.intent.service_cidrs.clear();
        }
        let entries = vec![query(&plan)];
        evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
        let diagnosis = judge_ipv4(&mut evidence);
        assert_eq!(told(&diagnosis), ["fw-drops-pod-to-node n1"]);
        let is_said = |line: &String| line.contains("got no answer");
        assert!(!diagnosis.unseen.iter().any(is_said), "{:?}", diagnosis.unseen);
    }
}

/// A port of the host or a load balancer's address on the node leads to a pod, whose error it is.
#[test]
fn an_address_of_the_node_that_is_translated_is_no_server_of_it() {
    let plan = PLAN();
    let mut evidence = closed(&plan, true);
    evidence.dns = None;
    ask(&mut evidence, service(), 9, Some(pod(&plan)));
    assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
}

/// In IPVS mode the error of the pod behind a service comes from the service's address.
#[test]
fn a_service_of_ipvs_has_no_endpoints_only_where_nobody_stands_behind_it() {
    let plan = PLAN();
    let none = format!("dns-service-no-endpoints {SERVICE}");
    for (device, endpoint, expected) in [
        ("kube-ipvs0", None, vec![none.clone()]),
        ("kube-dummy-if", None, vec![none]),
        ("kube-ipvs0", Some(pod(&plan)), vec![]),
    ] {
        let mut evidence = plan.evidence();
        know(&mut evidence);
        tables(&mut evidence).links.push(link(60, device, Some("dummy")));
        tables(&mut evidence).addresses.push(address(60, SERVICE, 32));
        ask(&mut evidence, service(), 9, endpoint);
        let refused = error(service(), (3, 3), inner(&plan, service(), 17, 53));
        see(&mut evidence, "cni0", refused, 5);
        assert_eq!(told(&judge_ipv4(&mut evidence)), expected, "{device}, {endpoint:?}");
    }
}

#[test]
fn one_that_keeps_silent_is_unexplained_and_one_that_answers_is_not() {
    assert!(is_open(&mut asked(&PLAN())));
    let mut answering = asked(&PLAN());
    let_answer(&mut answering, None);
    assert!(!is_open(&mut answering));
}

#[test]
fn a_port_of_the_node_that_is_scanned_is_nothing() {
    let plan = PLAN();
    let mut evidence = closed(&plan, true);
    evidence.dns = None;
    assert!(!is_open(&mut evidence));
    ask(&mut evidence, service(), 2, None);
    assert!(!is_open(&mut evidence));
}
