//! DNS servers that a node has itself, at an address of its own and at that of the DNS service, as
//! NodeLocal DNS does it.

use std::net::SocketAddr;

use super::{
    super::super::{
        Confidence,
        testing::{BRIDGE, Pass, address, judge_ipv4},
    },
    services::{SERVICE, ask, datagram_to, know, let_answer, service},
    *,
};
use crate::evidence::Drops;

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

#[test]
fn what_a_filter_refuses_in_its_name_is_no_closed_port() {
    let plan = PLAN();
    let mut evidence = closed(&plan, true);
    let drop = datagram_to(nth_address(plan.own_cidr(), 9), SocketAddr::new(service(), 53));
    evidence.drops.as_mut().unwrap().entries.push(drop);
    assert!(is_open(&mut evidence));
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
