//! Services and DNS servers that are refused: by this node, by the server's pod, or by nobody.

use std::net::SocketAddr;

use super::{
    super::super::{
        Confidence, SubjectKind,
        testing::{BRIDGE, Pass, address, dropped, judge_ipv4, link},
    },
    *,
};
use crate::evidence::{
    Dns, DnsAnswers, DnsServer, DnsTimeouts, Drop, Drops, Flow, Stage, Untranslated,
};

pub(super) const SERVICE: &str = "10.96.0.10";
const NETWORK: &str = "10.96.0.0/12";

pub(super) fn service() -> IpAddr {
    SERVICE.parse().unwrap()
}

fn host(plan: &Plan) -> IpAddr {
    nth_address(plan.own_cidr(), 1)
}

/// The service network is known, and kube-proxy is there.
pub(super) fn know(evidence: &mut Evidence) {
    evidence.intent.service_cidrs = vec![NETWORK.parse().unwrap()];
    kube_proxy(evidence);
}

fn kube_proxy(evidence: &mut Evidence) {
    evidence.intent.service_netfilter = vec!["chain KUBE-SERVICES".to_owned()];
}

/// Pods ask a server in vain; `endpoint` stands behind it.
pub(super) fn ask(evidence: &mut Evidence, server: IpAddr, queries: u64, endpoint: Option<IpAddr>) {
    let lost = DnsTimeouts { endpoint, query: Stage::PodOut, answer: None, queries };
    let server =
        DnsServer { server: Some(server), queries, timeouts: vec![lost], ..DnsServer::default() };
    let dns = evidence.dns.get_or_insert_with(|| Dns { timeout_seconds: 2.0, servers: Vec::new() });
    dns.servers.push(server);
}

/// The same server answers too.
pub(super) fn let_answer(evidence: &mut Evidence, endpoint: Option<IpAddr>) {
    let answers =
        DnsAnswers { endpoint, rcode: 0, truncated: false, bucket: 3, answers: 3, seconds: 0.001 };
    evidence.dns.as_mut().unwrap().servers[0].answers.push(answers);
}

/// This node refuses what its pods send to a port.
fn refuse(evidence: &mut Evidence, plan: &Plan, to: IpAddr, protocol: u8, port: u16) {
    see(evidence, "cni0", error(host(plan), (3, 3), inner(plan, to, protocol, port)), 4);
}

fn is_open(diagnosis: &Diagnosis) -> bool {
    diagnosis.unseen.iter().any(|line| line.contains("--service-cidr"))
}

// === dns-server-port-closed ===

fn close_port(evidence: &mut Evidence, plan: &Plan) {
    see(evidence, "flannel.1", error(pod(plan), (3, 3), inner(plan, pod(plan), 17, 53)), 5);
    let destination = nth_address(plan.own_cidr(), 9);
    let reset = Sight::Reset { source: pod(plan), port: 53, destination };
    see(evidence, "flannel.1", reset, 20);
}

#[test]
fn a_dns_server_s_pod_that_does_not_listen() {
    for plan in plans(&[2, 3]) {
        for (server, endpoint) in [(service(), Some(pod(&plan))), (pod(&plan), None)] {
            let mut evidence = plan.evidence();
            ask(&mut evidence, server, 9, endpoint);
            close_port(&mut evidence, &plan);
            let expected = format!("dns-server-port-closed {}", pod(&plan));
            let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
            let subject = &diagnosis.findings[0].subject;
            assert_eq!(subject.address, Some(pod(&plan)));
            assert_eq!(subject.cidr, Some(plan.hit_cidr()));
        }
    }
}

#[test]
fn a_dns_server_of_this_node_that_does_not_listen() {
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        let server = nth_address(plan.own_cidr(), 7);
        ask(&mut evidence, server, 9, None);
        let quoted = DropFlow { source: pod(&plan), ..inner(&plan, server, 17, 53) };
        see(&mut evidence, "cni0", error(server, (3, 3), quoted), 5);
        let expected = format!("dns-server-port-closed {server}");
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert_eq!(diagnosis.findings[0].subject.cidr, Some(plan.own_cidr()));
    }
}

#[test]
fn a_closed_port_53_that_is_no_dns_server_s_is_an_ordinary_one() {
    let ordinary = |change: &dyn Fn(&mut Evidence, &Plan)| {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            change(&mut evidence, &plan);
            close_port(&mut evidence, &plan);
            let expected = format!("pod-port-closed {}", pod(&plan));
            assert_one(&mut evidence, &expected, Severity::Info);
        }
    };
    // Nobody asks for names, somebody scans, another pod is the server, and it answers.
    ordinary(&|_, _| {});
    ordinary(&|evidence, plan| ask(evidence, pod(plan), 2, None));
    ordinary(&|evidence, plan| ask(evidence, service(), 9, Some(nth_address(plan.hit_cidr(), 6))));
    ordinary(&|evidence, plan| {
        ask(evidence, service(), 9, Some(pod(plan)));
        let_answer(evidence, Some(pod(plan)));
    });
}

#[test]
fn another_closed_port_of_a_dns_server_s_pod_is_told_beside_it() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    ask(&mut evidence, service(), 9, Some(pod(&plan)));
    close_port(&mut evidence, &plan);
    let quoted = inner(&plan, pod(&plan), 17, 7998);
    see(&mut evidence, "flannel.1", error(pod(&plan), (3, 3), quoted), 5);
    let pod = pod(&plan);
    let expected = [format!("dns-server-port-closed {pod}"), format!("pod-port-closed {pod}")];
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), expected);
    assert!(diagnosis.findings[1].title.ends_with("UDP 7998"), "{diagnosis:#?}");
}

// === dns-service-no-endpoints ===

#[test]
fn a_dns_service_that_this_node_refuses_has_no_endpoints() {
    for plan in plans(&[1, 3]) {
        for protocol in [17, 6] {
            let mut evidence = plan.evidence();
            know(&mut evidence);
            ask(&mut evidence, service(), 9, None);
            refuse(&mut evidence, &plan, service(), protocol, 53);
            let expected = format!("dns-service-no-endpoints {SERVICE}");
            let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
            assert_eq!(diagnosis.findings[0].subject.kind, SubjectKind::DnsServer);
        }
    }
}

#[test]
fn without_a_service_network_it_is_told_what_to_check_and_no_cause() {
    for plan in plans(&[3]) {
        for port in [53, 80] {
            let mut evidence = plan.evidence();
            kube_proxy(&mut evidence);
            ask(&mut evidence, service(), 9, None);
            refuse(&mut evidence, &plan, service(), 17, port);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [""; 0]);
            assert!(is_open(&diagnosis), "{:?}", diagnosis.unseen);
        }
    }
}

#[test]
fn a_service_that_worked_is_one_without_a_network_too() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let flow = Flow {
        source: nth_address(plan.own_cidr(), 9),
        destination: service(),
        protocol: 6,
        translated_destination: Some(pod(&plan)),
        ..evidence.traffic.as_ref().unwrap().flows[0].clone()
    };
    evidence.traffic.as_mut().unwrap().flows.push(flow);
    refuse(&mut evidence, &plan, service(), 6, 8080);
    assert_eq!(told(&judge(&mut evidence)), [format!("service-no-endpoints {SERVICE}:8080")]);
}

#[test]
fn refusals_that_are_no_service_without_endpoints() {
    assert_healthy(3, |evidence, plan| {
        know(evidence);
        // Port 53 of a service that nobody asks for names, and one that is asked and answers.
        refuse(evidence, plan, "10.96.7.7".parse().unwrap(), 17, 53);
        ask(evidence, service(), 9, None);
        let_answer(evidence, None);
        refuse(evidence, plan, service(), 6, 53);
        // A firewall that rejects what is for the outside and for the node's own network.
        refuse(evidence, plan, OUTSIDE.parse().unwrap(), 6, 443);
        refuse(evidence, plan, plan.gateway(), 17, 53);
        // A closed port of the node, and what is said by others or to others.
        refuse(evidence, plan, host(plan), 17, 514);
        let quoted = inner(plan, service(), 6, 80);
        see(evidence, "flannel.1", error(plan.hit_cidr().network(), (3, 3), quoted), 9);
        see(evidence, "cni0", error(plan.gateway(), (3, 3), quoted), 9);
        see(evidence, "cni0", error(host(plan), (3, 1), quoted), 9);
        let of_host = DropFlow { source: host(plan), ..quoted };
        see(evidence, "cni0", error(host(plan), (3, 3), of_host), 9);
        let echo = inner(plan, service(), 1, 0);
        see(evidence, "cni0", error(host(plan), (3, 3), echo), 9);
    });
    // Once, or in one half of the window.
    for (packets, early) in [(1, 1), (4, 0), (4, 4)] {
        assert_healthy(3, |evidence, plan| {
            know(evidence);
            ask(evidence, service(), 9, None);
            for port in [53, 80] {
                let quoted = inner(plan, service(), 17, port);
                see_early(evidence, "cni0", error(host(plan), (3, 3), quoted), packets, early);
            }
        });
    }
}

// === service-no-endpoints ===

#[test]
fn each_service_that_this_node_refuses_is_told_with_its_port() {
    for plan in plans(&[1, 3]) {
        let mut evidence = plan.evidence();
        know(&mut evidence);
        refuse(&mut evidence, &plan, service(), 6, 80);
        refuse(&mut evidence, &plan, service(), 17, 80);
        let expected = format!("service-no-endpoints {SERVICE}:80");
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Warning);
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.confidence, Confidence::Certain);
        assert!(finding.evidence[0].starts_with("8 ICMP errors"), "{finding:#?}");
        refuse(&mut evidence, &plan, service(), 6, 8080);
        assert_eq!(judge(&mut evidence).findings.len(), 2);
    }
}

#[test]
fn in_nftables_mode_the_service_may_have_no_such_port() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    know(&mut evidence);
    evidence.intent.service_netfilter = vec!["table kube-proxy".to_owned()];
    refuse(&mut evidence, &plan, service(), 6, 80);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("service-no-endpoints {SERVICE}:80")]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
}

#[test]
fn an_address_of_a_service_that_ipvs_has_on_the_node_is_one() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    know(&mut evidence);
    tables(&mut evidence).links.push(link(60, "kube-ipvs0", Some("dummy")));
    tables(&mut evidence).addresses.push(address(60, SERVICE, 32));
    let refused = error(service(), (3, 3), inner(&plan, service(), 6, 80));
    see(&mut evidence, "cni0", refused, 4);
    assert_eq!(told(&judge_ipv4(&mut evidence)), [format!("service-no-endpoints {SERVICE}:80")]);
}

pub(super) fn datagram_to(source: IpAddr, to: SocketAddr) -> Drop {
    let drop = dropped();
    let (destination, destination_port) = (to.ip(), to.port());
    let flow = drop.flow.map(|it| DropFlow { source, destination, destination_port, ..it });
    Drop { flow, ..drop }
}

#[test]
fn what_kube_proxy_drops_then_is_its_impact_and_no_finding_of_its_own() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    know(&mut evidence);
    refuse(&mut evidence, &plan, service(), 17, 80);
    let source = nth_address(plan.own_cidr(), 9);
    let of_service = datagram_to(source, SocketAddr::new(service(), 80));
    let other = datagram_to(source, SocketAddr::new(OUTSIDE.parse().unwrap(), 80));
    let packets = of_service.packets;
    evidence.drops =
        Some(Drops { entries: vec![of_service], headers_read: true, ..Drops::default() });
    let diagnosis = judge(&mut evidence);
    let name = format!("service-no-endpoints {SERVICE}:80");
    assert_eq!(told(&diagnosis), std::slice::from_ref(&name));
    assert_eq!(diagnosis.findings[0].impact.packets, packets);
    assert_eq!(diagnosis.drop_causes, ["service-no-endpoints"]);
    // A firewall beside it is told beside it.
    evidence.drops.as_mut().unwrap().entries.push(other);
    let diagnosis = judge(&mut evidence);
    let both = ["egress-dropped n1".to_owned(), name];
    assert_eq!(told(&diagnosis), both);
    assert_eq!(diagnosis.drop_causes, ["service-no-endpoints", "egress-dropped"]);
    assert!(diagnosis.findings.iter().all(|it| it.impact.packets == packets));
}

// === dns-service-rules-missing ===

/// Queries that nothing translates.
fn pass_on(evidence: &mut Evidence, to: IpAddr, flows: u64) {
    let untranslated =
        Untranslated { destination: to, protocol: 17, port: 53, flows, packets: 2 * flows };
    evidence.traffic.as_mut().unwrap().untranslated.push(untranslated);
}

#[test]
fn a_dns_service_that_nothing_translates() {
    for plan in plans(&[1, 3]) {
        for has_rules in [true, false] {
            let mut evidence = plan.evidence();
            know(&mut evidence);
            if !has_rules {
                evidence.intent.service_netfilter.clear();
            }
            ask(&mut evidence, service(), 9, None);
            pass_on(&mut evidence, service(), 9);
            let expected = format!("dns-service-rules-missing {SERVICE}");
            let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
            let impact = diagnosis.findings[0].impact;
            assert_eq!((impact.packets, impact.flows), (18, 9));
        }
    }
}

/// A port that was used a moment ago still leads to the server.
#[test]
fn a_single_answer_does_not_hide_that_nothing_translates_or_listens() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let one_answers = |evidence: &mut Evidence, endpoint| {
        know(evidence);
        ask(evidence, service(), 9, endpoint);
        let_answer(evidence, endpoint);
        evidence.dns.as_mut().unwrap().servers[0].answers[0].answers = 1;
    };
    let mut evidence = plan.evidence();
    one_answers(&mut evidence, None);
    pass_on(&mut evidence, service(), 9);
    assert_eq!(told(&judge(&mut evidence)), [format!("dns-service-rules-missing {SERVICE}")]);
    let mut evidence = plan.evidence();
    one_answers(&mut evidence, None);
    refuse(&mut evidence, &plan, service(), 17, 53);
    assert_eq!(told(&judge(&mut evidence)), [format!("dns-service-no-endpoints {SERVICE}")]);
    let mut evidence = plan.evidence();
    one_answers(&mut evidence, Some(pod(&plan)));
    close_port(&mut evidence, &plan);
    assert_eq!(told(&judge(&mut evidence)), [format!("dns-server-port-closed {}", pod(&plan))]);
}

/// A packet filter drops queries to a server, and whether kube-proxy's rules name it was asked.
fn drop_queries(evidence: &mut Evidence, server: IpAddr, has_rules: Option<bool>) {
    let drop = dropped();
    let flow = drop.flow.map(|flow| DropFlow {
        destination: server,
        protocol: 17,
        destination_port: 53,
        ..flow
    });
    let entries = vec![Drop { flow, packets: 9, early: 4, ..drop }];
    evidence.drops = Some(Drops { entries, ..Drops::default() });
    evidence.dns.as_mut().unwrap().servers[0].has_service_rules = has_rules;
}

/// A node on which queries to the service are dropped.
fn dropping(plan: &Plan, has_rules: Option<bool>) -> Evidence {
    let mut evidence = plan.evidence();
    evidence.intent.service_cidrs = vec![NETWORK.parse().unwrap()];
    evidence.intent.service_netfilter = vec!["nft table ip kube-proxy".to_owned()];
    ask(&mut evidence, service(), 9, None);
    drop_queries(&mut evidence, service(), has_rules);
    evidence
}

#[test]
fn queries_that_are_dropped_under_an_address_that_no_rule_names_are_not_translated() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let diagnosis = judge_ipv4(&mut dropping(&plan, Some(false)));
    assert_eq!(told(&diagnosis), [format!("dns-service-rules-missing {SERVICE}")]);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.confidence, Confidence::Likely);
    assert_eq!(finding.impact.packets, 9);
    assert_eq!(diagnosis.drop_causes, ["dns-service-rules-missing"]);
}

#[test]
fn queries_that_are_dropped_for_another_reason_are_not_said_to_lack_rules() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let diagnosis = judge_ipv4(&mut dropping(&plan, Some(true)));
    assert_eq!(told(&diagnosis), [""; 0]);
    let is_before = |line: &String| line.contains("before kube-proxy");
    assert!(diagnosis.unseen.iter().any(is_before), "{:?}", diagnosis.unseen);
    // Nobody could read kube-proxy's rules; something else may translate.
    assert_eq!(told(&judge_ipv4(&mut dropping(&plan, None))), [""; 0]);
    let mut without = dropping(&plan, Some(false));
    without.intent.service_netfilter.clear();
    assert_eq!(told(&judge_ipv4(&mut without)), [""; 0]);
    // A rule of another chain refuses them.
    let mut refusing = dropping(&plan, Some(false));
    refuse(&mut refusing, &plan, service(), 17, 53);
    assert_eq!(told(&judge_ipv4(&mut refusing)), [format!("dns-service-no-endpoints {SERVICE}")]);
}

#[test]
fn without_a_service_network_the_address_may_be_any_server_s() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        ask(&mut evidence, service(), 9, None);
        pass_on(&mut evidence, service(), 9);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0]);
        assert!(is_open(&diagnosis), "{:?}", diagnosis.unseen);
    }
}

#[test]
fn servers_that_do_not_answer_and_are_no_service_or_are_translated() {
    assert_healthy(3, |evidence, plan| {
        know(evidence);
        for server in [OUTSIDE, "10.200.0.53"] {
            ask(evidence, server.parse().unwrap(), 9, None);
            pass_on(evidence, server.parse().unwrap(), 9);
        }
        // It answers some, few are asked, and others are dropped before they are known.
        ask(evidence, plan.gateway(), 9, None);
        pass_on(evidence, plan.gateway(), 9);
        ask(evidence, "10.96.0.11".parse().unwrap(), 9, None);
        ask(evidence, "10.96.0.12".parse().unwrap(), 2, None);
        pass_on(evidence, "10.96.0.12".parse().unwrap(), 9);
        // One connection of before the rules came.
        ask(evidence, "10.96.0.13".parse().unwrap(), 9, None);
        pass_on(evidence, "10.96.0.13".parse().unwrap(), 1);
    });
    assert_healthy(3, |evidence, _| {
        know(evidence);
        ask(evidence, service(), 9, None);
        let_answer(evidence, None);
        pass_on(evidence, service(), 9);
    });
    // NodeLocal DNS has the service's address on the node.
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    know(&mut evidence);
    tables(&mut evidence).addresses.push(address(BRIDGE, SERVICE, 32));
    ask(&mut evidence, service(), 9, None);
    pass_on(&mut evidence, service(), 9);
    assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
}
