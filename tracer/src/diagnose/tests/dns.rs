//! DNS servers that answer wrongly, too late, or whose queries the overlay loses.

use std::net::IpAddr;

use super::super::{
    Severity, SubjectKind, diagnose,
    testing::{Pass, Plan, judge, mac, peer_traffic, tables},
};
use crate::{
    evidence::{Dns, DnsAnswers, DnsServer, DnsTimeouts, Evidence, Stage, StageCounts},
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

/// A node without the FDB entry of a peer, whose pod is the server's endpoint.
fn broken(query: Stage, endpoint: impl Fn(&Plan) -> Option<IpAddr>) -> Evidence {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    let hit = mac(plan.hit());
    tables(&mut evidence).fdb.retain(|entry| entry.mac != hit);
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.packets = StageCounts { pod_out: 42, overlay_out: 42, ..StageCounts::default() };
    traffic.lost.overlay_to_wire = 42;
    traffic.lost_early.overlay_to_wire = 20;
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
