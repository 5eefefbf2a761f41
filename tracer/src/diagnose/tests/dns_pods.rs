//! What drops queries in the pod of a DNS server of this node, and what resembles it.

use super::super::{
    Confidence, Diagnosis, Severity, SubjectKind,
    testing::{
        BRIDGE, PASSES, Pass, Plan, dropped, flow_of, judge_ipv4, mac, neighbour, tables, told,
    },
};
use crate::{
    evidence::{
        Dns, DnsAnswers, DnsServer, DnsTimeouts, Drop, DropFlow, DropPlace, Drops, Evidence,
        IcmpError, Sight, Sighting, Stage, StageCounts,
    },
    topology::nth_address,
};

const QUERIES: u64 = 20;

/// A client's query to a DNS server in a pod here.
fn query(plan: &Plan) -> DropFlow {
    DropFlow {
        source: nth_address(plan.hit_cidr(), 5),
        destination: nth_address(plan.own_cidr(), 9),
        protocol: 17,
        source_port: 40_100,
        destination_port: 53,
    }
}

fn timeouts(query: Stage, queries: u64) -> DnsTimeouts {
    DnsTimeouts { endpoint: None, query, answer: None, queries }
}

fn answers(answers: u64) -> DnsAnswers {
    DnsAnswers { endpoint: None, rcode: 0, truncated: false, bucket: 3, answers, seconds: 0.1 }
}

/// A node with a DNS server in a pod, `timed_out` of whose queries had no answer, and what was dropped
/// in pods.
fn asked(plan: &Plan, timed_out: u64, entries: Vec<Drop>) -> Evidence {
    let mut evidence = plan.evidence();
    let query = query(plan);
    let server = DnsServer {
        server: Some(query.destination),
        queries: QUERIES,
        answers: vec![answers(QUERIES - timed_out)],
        timeouts: vec![timeouts(Stage::PodIn, timed_out)],
        ..DnsServer::default()
    };
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![server] });
    let packets = StageCounts { wire_in: 20, overlay_in: 20, pod_in: 20, ..StageCounts::default() };
    evidence.traffic.as_mut().unwrap().flows.push(flow_of(query, packets));
    evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
    tables(&mut evidence).neighbours.push(neighbour(BRIDGE, query.destination, mac(99)));
    evidence
}

fn in_pod(flow: DropFlow, reason: &str, packets: u64) -> Drop {
    let (reason, early) = (Some(reason.to_owned()), packets / 2);
    Drop {
        reason,
        place: DropPlace::Pod,
        interface: None,
        packets,
        early,
        flow: Some(flow),
        ..dropped()
    }
}

fn server(evidence: &mut Evidence) -> &mut DnsServer {
    &mut evidence.dns.as_mut().unwrap().servers[0]
}

fn is_told(diagnosis: &Diagnosis, code: &str, plan: &Plan) {
    assert_eq!(told(diagnosis), [format!("{code} {}", query(plan).destination)]);
    let finding = &diagnosis.findings[0];
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(finding.subject.kind, SubjectKind::DnsServer);
    assert_eq!(finding.subject.address, Some(query(plan).destination));
}

fn finds_nothing(mut evidence: Evidence) {
    assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
}

#[test]
fn a_filter_in_the_server_s_pod_is_told_as_its_own_and_not_as_the_pod_s() {
    for pass in PASSES {
        let plan = Plan::of(3, pass);
        let drop = in_pod(query(&plan), "NETFILTER_DROP", 12);
        let diagnosis = judge_ipv4(&mut asked(&plan, 12, vec![drop]));
        is_told(&diagnosis, "dns-query-dropped-at-server", &plan);
        let finding = &diagnosis.findings[0];
        assert_eq!((finding.confidence, finding.impact.packets), (Confidence::Certain, 12));
        assert_eq!(diagnosis.drop_causes, ["dns-query-dropped-at-server"]);
    }
}

#[test]
fn a_filter_that_drops_more_than_queries_or_few_of_them_is_the_pod_s() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let query = query(&plan);
    let web = DropFlow { destination_port: 8053, ..query };
    let more = vec![in_pod(query, "NETFILTER_DROP", 12), in_pod(web, "NETFILTER_DROP", 12)];
    let few = vec![in_pod(query, "NETFILTER_DROP", 3)];
    for (timed_out, drops) in [(20, more), (1, few.clone()), (0, few)] {
        let diagnosis = judge_ipv4(&mut asked(&plan, timed_out, drops));
        assert_eq!(told(&diagnosis), [format!("pod-policy-drops {}", query.destination)]);
    }
}

#[test]
fn a_server_that_answers_nothing_is_likely_where_drops_are_not_read() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let silent = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = asked(&plan, QUERIES, Vec::new());
        server(&mut evidence).answers.clear();
        evidence.drops = None;
        change(&mut evidence);
        evidence
    };
    let unread = Drops { headers_read: false, ..Drops::default() };
    for drops in [None, Some(unread)] {
        let diagnosis = judge_ipv4(&mut silent(&|it| it.drops.clone_from(&drops)));
        is_told(&diagnosis, "dns-query-dropped-at-server", &plan);
        assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    }
    // It may hang: nothing dropped them.
    finds_nothing(silent(&|it| it.drops = asked(&plan, QUERIES, Vec::new()).drops));
    finds_nothing(silent(&|it| server(it).answers = vec![answers(1)]));
    finds_nothing(silent(&|it| server(it).unmatched = 1));
    finds_nothing(silent(&|it| server(it).tcp.answered = 1));
    finds_nothing(silent(&|it| server(it).timeouts = vec![timeouts(Stage::PodIn, 4)]));
    finds_nothing(silent(&|it| server(it).timeouts = vec![timeouts(Stage::OverlayIn, 20)]));
    finds_nothing(silent(&|it| {
        server(it).timeouts =
            vec![DnsTimeouts { answer: Some(Stage::PodOut), ..timeouts(Stage::PodIn, 20) }];
    }));
    // Nobody is there.
    finds_nothing(silent(&|it| tables(it).neighbours.retain(|entry| entry.ifindex != BRIDGE)));
    // Nothing listens: it says so itself.
    let diagnosis = judge_ipv4(&mut silent(&|evidence| {
        let quoted = query(&plan);
        let (sender, receiver) = (quoted.destination, quoted.source);
        let error = IcmpError { sender, receiver, kind: 3, code: 3, mtu: 0, quoted };
        let what = Sight::IcmpError(error);
        let seen = Sighting { interface: "cni0".to_owned(), what, packets: 8, early: 4 };
        evidence.traffic.as_mut().unwrap().sightings.push(seen);
    }));
    assert!(
        told(&diagnosis).iter().all(|it| !it.starts_with("dns-query")),
        "{:?}",
        told(&diagnosis)
    );
}

#[test]
fn a_server_whose_socket_overflows_is_told() {
    let plan = Plan::of(3, Pass::Tables);
    for timed_out in [12, QUERIES] {
        let drop = in_pod(query(&plan), "SOCKET_RCVBUFF", 12);
        let diagnosis = judge_ipv4(&mut asked(&plan, timed_out, vec![drop]));
        is_told(&diagnosis, "dns-server-overloaded", &plan);
        assert_eq!(diagnosis.findings[0].confidence, Confidence::Certain);
        assert_eq!(diagnosis.drop_causes, ["dns-server-overloaded"]);
    }
    let by_function = |timed_out| {
        let drop = in_pod(query(&plan), "", 12);
        let symbol = Some("udp_queue_rcv_one_skb".to_owned());
        asked(&plan, timed_out, vec![Drop { reason: None, symbol, ..drop }])
    };
    let diagnosis = judge_ipv4(&mut by_function(12));
    is_told(&diagnosis, "dns-server-overloaded", &plan);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    finds_nothing(by_function(QUERIES));
}

#[test]
fn sockets_of_others_bursts_and_late_answers_are_no_overload() {
    let plan = Plan::of(3, Pass::Tables);
    let query = query(&plan);
    let overflow = |flow| in_pod(flow, "SOCKET_RCVBUFF", 12);
    let syslog = DropFlow { destination_port: 514, ..query };
    let client = DropFlow { source_port: 53, destination_port: 40_000, ..query };
    let neighbour = DropFlow { source: nth_address(plan.own_cidr(), 12), ..query };
    for flow in [syslog, client, neighbour] {
        finds_nothing(asked(&plan, 0, vec![overflow(flow)]));
    }
    let burst = Drop { early: 0, ..overflow(query) };
    let on_node = Drop { place: DropPlace::Node, ..overflow(query) };
    for drop in [burst, on_node, in_pod(query, "SOCKET_RCVBUFF", 2)] {
        finds_nothing(asked(&plan, 2, vec![drop]));
    }
    // A few of thousands.
    let mut evidence = asked(&plan, 2, vec![overflow(query)]);
    server(&mut evidence).queries = 2000;
    finds_nothing(evidence);
}
