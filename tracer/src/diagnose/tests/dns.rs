//! DNS servers that answer wrongly, too late, or whose queries the overlay loses.

use std::net::IpAddr;

use super::super::{
    Finding, Severity, SubjectKind, diagnose,
    testing::{Pass, Plan, judge, mac, peer_traffic, tables},
};
use crate::{
    evidence::{
        Dns, DnsAnswers, DnsServer, DnsTimeouts, Evidence, Flow, Losses, Stage, StageCounts,
        StagePair,
    },
    topology::nth_address,
};

const SERVICE: &str = "10.96.0.10";

fn answers(rcode: u8, answers: u64) -> DnsAnswers {
    let seconds = answers as f64 * 3.0;
    DnsAnswers { endpoint: None, rcode, truncated: false, bucket: 3, answers, seconds }
}

fn asked(change: impl Fn(&mut DnsServer)) -> Evidence {
    let mut evidence = Plan::of(3, Pass::SubnetEnv).evidence();
    let server = Some(SERVICE.parse().unwrap());
    let mut server = DnsServer { server, queries: 100, ..DnsServer::default() };
    change(&mut server);
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![server] });
    evidence
}

fn codes(evidence: &Evidence) -> Vec<&'static str> {
    diagnose(evidence).findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn a_server_that_answers_with_errors_is_told() {
    for code in [2, 5] {
        let evidence = asked(|it| it.answers = vec![answers(0, 45), answers(code, 5)]);
        let diagnosis = diagnose(&evidence);
        let [finding] = &diagnosis.findings[..] else { panic!("{:?}", diagnosis.findings) };
        assert_eq!((finding.code, finding.severity), ("dns-error-rcode", Severity::Warning));
        assert_eq!(finding.subject.kind, SubjectKind::DnsServer);
        assert_eq!(finding.subject.key, SERVICE);
    }
}

#[test]
fn few_errors_among_many_answers_and_names_that_do_not_exist_are_healthy() {
    for of_server in [
        vec![answers(0, 46), answers(2, 4)],
        vec![answers(0, 46), answers(2, 5)],
        vec![answers(3, 500)],
        vec![answers(3, 80), answers(0, 20), answers(9, 30)],
    ] {
        let evidence = asked(|it| it.answers.clone_from(&of_server));
        assert_eq!(codes(&evidence), [""; 0], "{of_server:?}");
    }
}

// === Servers that ask others ===

/// A server on this node that errs.
fn erring(server: IpAddr) -> DnsServer {
    let answers = vec![answers(2, 50)];
    DnsServer { server: Some(server), queries: 50, answers, ..DnsServer::default() }
}

/// A flow of queries.
fn asks(evidence: &mut Evidence, source: IpAddr, destination: IpAddr) {
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    let (protocol, destination_port) = (17, 53);
    let flow = Flow { source, destination, protocol, destination_port, ..flows[0].clone() };
    flows.push(flow);
}

/// CoreDNS asks `10.1.1.53`, which asks nobody that this node knows of.
fn with_upstream(change: impl Fn(&mut Evidence, IpAddr, IpAddr)) -> Vec<String> {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let (server, upstream) = (nth_address(plan.own_cidr(), 9), "10.1.1.53".parse().unwrap());
    let servers = vec![erring(server), erring(upstream)];
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers });
    change(&mut evidence, server, upstream);
    let diagnosis = diagnose(&evidence);
    let line = |it: &Finding| format!("{} breaks {:?}", it.subject.key, it.breaks);
    diagnosis.findings.iter().map(line).collect()
}

#[test]
fn of_servers_that_hand_on_errors_the_one_nearest_to_the_cause_is_told() {
    let told = with_upstream(asks);
    assert_eq!(told, [r#"10.1.1.53 breaks ["dns 10.244.1.9"]"#]);
    // A chain of three, and a service that the server's pod stands behind.
    let told = with_upstream(|evidence, server, upstream| {
        let middle = "10.1.1.52".parse().unwrap();
        let mut service = erring(SERVICE.parse().unwrap());
        service.answers[0].endpoint = Some(server);
        evidence.dns.as_mut().unwrap().servers.extend([erring(middle), service]);
        asks(evidence, server, middle);
        let of_middle = nth_address("10.244.1.0/24".parse().unwrap(), 11);
        evidence.dns.as_mut().unwrap().servers[2].answers[0].endpoint = Some(of_middle);
        asks(evidence, of_middle, upstream);
    });
    let breaks = r#"["dns 10.1.1.52", "dns 10.244.1.9", "dns 10.96.0.10"]"#;
    assert_eq!(told, [format!("10.1.1.53 breaks {breaks}")]);
}

/// Evidence of an upstream that is late, and of a server that asks it.
fn late_upstream(change: impl Fn(&mut DnsServer, &mut DnsServer)) -> Vec<String> {
    with_upstream(|evidence, server, upstream| {
        let [asking, asked] = &mut evidence.dns.as_mut().unwrap().servers[..] else { panic!() };
        (asking.answers, asked.answers) = (Vec::new(), Vec::new());
        asked.late = vec![answers(0, 50)];
        change(asking, asked);
        asks(evidence, server, upstream);
    })
}

#[test]
fn a_server_that_waits_too_long_for_another_is_late_or_gives_up_because_of_it() {
    let by_upstream = [r#"10.1.1.53 breaks ["dns 10.244.1.9"]"#];
    assert_eq!(late_upstream(|asking, _| asking.late = vec![answers(0, 50)]), by_upstream);
    assert_eq!(late_upstream(|asking, _| asking.late = vec![answers(2, 50)]), by_upstream);
    assert_eq!(late_upstream(|asking, _| asking.answers = vec![answers(2, 50)]), by_upstream);
    // It refuses, which is its own affair, or gives up far more often than it waits.
    for own in [answers(5, 50), answers(2, 500)] {
        let each = late_upstream(|asking, _| asking.answers = vec![own.clone()]);
        assert_eq!(each, ["10.1.1.53 breaks []", "10.244.1.9 breaks []"]);
    }
    // Errors come at once, and no one is late because of them.
    let each = late_upstream(|asking, asked| {
        (asked.answers, asked.late) = (vec![answers(2, 50)], Vec::new());
        asking.late = vec![answers(0, 50)];
    });
    assert_eq!(each, ["10.244.1.9 breaks []", "10.1.1.53 breaks []"]);
}

#[test]
fn of_a_server_that_gives_up_it_is_told_which_upstream_it_waited_for() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let (server, upstream) = (nth_address(plan.own_cidr(), 9), "10.1.1.53".parse().unwrap());
    let lost = DnsTimeouts { endpoint: None, query: Stage::PodOut, answer: None, queries: 150 };
    let given_up = DnsServer {
        server: Some(server),
        queries: 50,
        late: vec![answers(2, 50)],
        ..DnsServer::default()
    };
    let silent = DnsServer {
        server: Some(upstream),
        queries: 150,
        timeouts: vec![lost],
        ..DnsServer::default()
    };
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![given_up, silent] });
    asks(&mut evidence, server, upstream);
    let diagnosis = diagnose(&evidence);
    let [finding] = &diagnosis.findings[..] else { panic!("{:?}", diagnosis.findings) };
    assert_eq!((finding.code, finding.subject.key.as_str()), ("dns-error-rcode", "10.244.1.9"));
    let lines: Vec<&str> = finding.evidence.iter().map(String::as_str).collect();
    let told = [
        "50 of 50 answers in 5.0 s were SERVFAIL",
        "50 of them came after more than 2 s",
        "it asks 10.1.1.53, which answered 0 of 150 queries of this node in time",
    ];
    assert_eq!(lines, told);
}

#[test]
fn servers_that_err_each_for_itself_are_told_each() {
    for change in [
        |_: &mut Evidence, _, _| {},
        // It asks others, and is asked.
        |evidence: &mut Evidence, server, upstream| {
            asks(evidence, server, "10.1.1.54".parse().unwrap());
            asks(evidence, upstream, "10.1.1.54".parse().unwrap());
        },
    ] {
        let told = with_upstream(change);
        assert_eq!(told, ["10.1.1.53 breaks []", "10.244.1.9 breaks []"]);
    }
}

#[test]
fn a_server_that_answers_too_late_is_told_with_its_time() {
    let evidence = asked(|it| it.late = vec![answers(0, 3)]);
    let diagnosis = diagnose(&evidence);
    let [finding] = &diagnosis.findings[..] else { panic!("{:?}", diagnosis.findings) };
    assert_eq!((finding.code, finding.severity), ("dns-answer-late", Severity::Warning));
    assert!(finding.title.ends_with("answers after 3.0 s"), "{}", finding.title);
    let healthy = [(0, 2), (100, 3)];
    for (in_time, late) in healthy {
        let evidence = asked(|it| {
            (it.answers, it.late) = (vec![answers(0, in_time)], vec![answers(0, late)]);
        });
        assert_eq!(codes(&evidence), [""; 0], "{late} of {in_time}");
    }
}

/// A peer has no FDB entry, and what is sent to it is lost for want of it.
pub(super) fn lose_fdb_entry(evidence: &mut Evidence, plan: &Plan) {
    let hit = mac(plan.hit());
    tables(evidence).fdb.retain(|entry| entry.mac != hit);
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    traffic.packets = StageCounts { pod_out: 42, overlay_out: 42, ..StageCounts::default() };
    traffic.lost.overlay_to_wire = 42;
    traffic.lost_early.overlay_to_wire = 20;
}

/// A node without the FDB entry of a peer, whose pod is the server's endpoint.
fn broken(query: Stage, endpoint: impl Fn(&Plan) -> Option<IpAddr>) -> Evidence {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    lose_fdb_entry(&mut evidence, &plan);
    judge(&mut evidence);
    let lost = DnsTimeouts { endpoint: endpoint(&plan), query, answer: None, queries: 10 };
    let server = Some(SERVICE.parse().unwrap());
    let server = DnsServer { server, queries: 10, timeouts: vec![lost], ..DnsServer::default() };
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![server] });
    evidence
}

fn breaks_dns(evidence: &Evidence) -> bool {
    let diagnosis = diagnose(evidence);
    let [finding] = &diagnosis.findings[..] else { panic!("{:?}", diagnosis.findings) };
    assert_eq!(finding.code, "fdb-entry-missing");
    finding.breaks.contains(&format!("dns {SERVICE}"))
}

#[test]
fn a_fault_of_the_overlay_breaks_the_servers_whose_queries_die_there() {
    let hit = |plan: &Plan| Some(nth_address(plan.hit_cidr(), 9));
    assert!(breaks_dns(&broken(Stage::OverlayOut, hit)));
    assert!(!breaks_dns(&broken(Stage::PodOut, hit)), "another place");
    let own = |plan: &Plan| Some(nth_address(plan.own_cidr(), 9));
    assert!(!breaks_dns(&broken(Stage::OverlayOut, own)), "not that peer's");
    assert!(!breaks_dns(&broken(Stage::OverlayOut, |_| None)), "nobody knows whose");
}

/// What is said of why a server, with this endpoint, is silent.
fn said_of_silent(address: IpAddr, change: impl Fn(&mut Evidence)) -> Vec<String> {
    let mut evidence = asked(|server| {
        let lost = DnsTimeouts { endpoint: None, query: Stage::PodOut, answer: None, queries: 9 };
        (server.server, server.timeouts) = (Some(address), vec![lost]);
    });
    evidence.intent.service_cidrs = vec!["10.96.0.0/12".parse().unwrap()];
    change(&mut evidence);
    let diagnosis = diagnose(&evidence);
    assert_eq!(codes(&evidence), [""; 0]);
    diagnosis.unseen.into_iter().filter(|line| line.contains("DNS queries to")).collect()
}

#[test]
fn a_server_of_the_cluster_whose_silence_nothing_explains_has_a_line() {
    let service: IpAddr = SERVICE.parse().unwrap();
    let [line] = &said_of_silent(service, |_| {})[..] else { panic!() };
    assert!(
        line.starts_with("why 9 DNS queries to 10.96.0.10 got no answer: pod_out saw"),
        "{line}"
    );
    // Somebody else's, and one that answers.
    assert_eq!(said_of_silent("10.1.1.53".parse().unwrap(), |_| {}), [""; 0]);
    let answering = |it: &mut Evidence| {
        it.dns.as_mut().unwrap().servers[0].answers = vec![answers(0, 5)];
    };
    assert_eq!(said_of_silent(service, answering), [""; 0]);
}

// === On the server's node ===

/// So many packets were lost there.
fn losses(pair: StagePair, packets: u64) -> Losses {
    let mut lost = Losses::default();
    match pair {
        StagePair::PodToOverlay => lost.pod_to_overlay = packets,
        StagePair::OverlayToWire => lost.overlay_to_wire = packets,
        StagePair::WireToOverlay => lost.wire_to_overlay = packets,
        StagePair::OverlayToPod => lost.overlay_to_pod = packets,
        StagePair::WireToPeer => lost.wire_to_peer = packets,
    }
    lost
}

/// What the node of the server saw last of a query, or of its answer, by the flow of it: whether it
/// is that of a fault between it and its client's node.
fn breaks_at_server(
    pair: StagePair,
    last: (Stage, Option<Stage>),
    packets: StageCounts,
    from: impl Fn(&Plan) -> IpAddr,
) -> bool {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.packets = StageCounts::default();
    (traffic.lost, traffic.lost_early) = (losses(pair, 40), losses(pair, 20));
    let server = nth_address(plan.own_cidr(), 9);
    let client = from(&plan);
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    let is_answer = last.1.is_some();
    let flow = Flow {
        source: if is_answer { server } else { client },
        destination: if is_answer { client } else { server },
        protocol: 17,
        source_port: if is_answer { 53 } else { 40_000 },
        destination_port: if is_answer { 40_000 } else { 53 },
        packets,
        ..flows[0].clone()
    };
    flows.push(flow);
    let lost = DnsTimeouts { endpoint: None, query: last.0, answer: last.1, queries: 10 };
    let server = DnsServer {
        server: Some(server),
        queries: 10,
        timeouts: vec![lost],
        ..DnsServer::default()
    };
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![server] });
    let diagnosis = diagnose(&evidence);
    let [finding] = &diagnosis.findings[..] else { panic!("{:?}", diagnosis.findings) };
    finding.breaks.contains(&"dns 10.244.1.9".to_owned())
}

#[test]
fn a_fault_on_the_server_s_node_breaks_the_server_for_the_clients_beyond() {
    let came = |wire_in, overlay_in, pod_in| StageCounts {
        wire_in,
        overlay_in,
        pod_in,
        ..StageCounts::default()
    };
    let hit = |plan: &Plan| nth_address(plan.hit_cidr(), 5);
    let other = |plan: &Plan| nth_address(plan.cidr(plan.peers().next().unwrap()), 5);
    let (outer, inner) = (StagePair::WireToOverlay, StagePair::OverlayToPod);
    assert!(breaks_at_server(outer, (Stage::WireIn, None), came(9, 0, 0), hit));
    assert!(breaks_at_server(inner, (Stage::OverlayIn, None), came(9, 9, 0), hit));
    assert!(!breaks_at_server(outer, (Stage::WireIn, None), came(9, 0, 0), other), "whose");
    assert!(!breaks_at_server(outer, (Stage::OverlayIn, None), came(9, 9, 0), hit), "where");
    assert!(!breaks_at_server(inner, (Stage::OverlayIn, None), came(9, 9, 9), hit), "it arrived");
}

#[test]
fn answers_that_the_server_s_node_loses_are_its_fault_s_too() {
    let left = |pod_out, overlay_out, wire_out| StageCounts {
        pod_out,
        overlay_out,
        wire_out,
        ..StageCounts::default()
    };
    let hit = |plan: &Plan| nth_address(plan.hit_cidr(), 5);
    let (first, second) = (StagePair::PodToOverlay, StagePair::OverlayToWire);
    let last = |answer| (Stage::PodIn, Some(answer));
    assert!(breaks_at_server(first, last(Stage::PodOut), left(9, 0, 0), hit));
    assert!(breaks_at_server(second, last(Stage::OverlayOut), left(9, 9, 0), hit));
    assert!(!breaks_at_server(second, last(Stage::PodOut), left(9, 0, 0), hit), "where");
    assert!(!breaks_at_server(first, last(Stage::PodOut), left(9, 9, 9), hit), "it left");
}
