//! Two queries at once from one socket, of which conntrack loses one; and what resembles it. No kernel
//! that labs run on loses them: the numbers are those that older kernels are reported to give.

use std::net::IpAddr;

use super::super::{
    Severity,
    testing::{Pass, Plan, dropped, flow_of, judge_ipv4, told},
};
use crate::{
    evidence::{
        Conntrack, Dns, DnsAnswers, DnsServer, DnsTimeouts, Drop, DropFlow, Drops, Evidence, Flow,
        Stage, StageCounts, Statistics,
    },
    topology::nth_address,
};

const SERVICE: &str = "10.96.0.10";
/// Look-ups whose answer for one of both types never came, and those without such an accident.
const LOST: u64 = 6;
const WELL: u64 = 30;

/// A look-up's socket: the flow to the service, or back from it.
fn flow(ends: (IpAddr, IpAddr), ports: (u16, u16), packets: StageCounts) -> Flow {
    let name = DropFlow {
        source: ends.0,
        destination: ends.1,
        protocol: 17,
        source_port: ports.0,
        destination_port: ports.1,
    };
    Flow { born_in_window: true, ..flow_of(name, packets) }
}

/// A node whose pods look up names, each by two queries.
fn raced(plan: &Plan) -> Evidence {
    let mut evidence = plan.evidence();
    let (pod, endpoint) = (nth_address(plan.own_cidr(), 9), nth_address(plan.hit_cidr(), 5));
    let service: IpAddr = SERVICE.parse().unwrap();
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    for number in 0..LOST + WELL {
        let (port, answered) = (40_000 + number as u16, if number < LOST { 1 } else { 2 });
        let out = StageCounts { pod_out: 2, ..StageCounts::default() };
        let back = StageCounts { pod_in: answered, ..StageCounts::default() };
        flows.push(flow((pod, service), (port, 53), out));
        flows.push(flow((service, pod), (53, port), back));
    }
    let answers = DnsAnswers {
        endpoint: Some(endpoint),
        rcode: 0,
        truncated: false,
        bucket: 2,
        answers: LOST + 2 * WELL,
        seconds: 0.1,
    };
    let timeouts =
        DnsTimeouts { endpoint: None, query: Stage::PodOut, answer: None, queries: LOST };
    let server = DnsServer {
        server: Some(service),
        queries: 2 * (LOST + WELL),
        answers: vec![answers],
        timeouts: vec![timeouts],
        ..DnsServer::default()
    };
    evidence.dns = Some(Dns { timeout_seconds: 2.0, servers: vec![server] });
    let conntrack = Conntrack { entries: 900, most: 262_144, dropped: 0, insert_failed: LOST };
    evidence.statistics = Some(Statistics { conntrack: Some(conntrack), ..Statistics::default() });
    let names = (0..LOST).map(|number| DropFlow {
        source: pod,
        destination: endpoint,
        protocol: 17,
        source_port: 40_000 + number as u16,
        destination_port: 53,
    });
    let symbol = Some("nf_hook_slow".to_owned());
    let drop =
        |flow| Drop { packets: 1, early: 0, symbol: symbol.clone(), flow: Some(flow), ..dropped() };
    let entries = names.map(drop).collect();
    evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
    evidence
}

fn server(evidence: &mut Evidence) -> &mut DnsServer {
    &mut evidence.dns.as_mut().unwrap().servers[0]
}

fn conntrack(evidence: &mut Evidence) -> &mut Conntrack {
    evidence.statistics.as_mut().unwrap().conntrack.as_mut().unwrap()
}

#[test]
fn a_race_that_loses_one_query_of_two_is_told_and_no_firewall_is() {
    for pass in [Pass::Tables, Pass::PeersFile] {
        let plan = Plan::of(3, pass);
        let diagnosis = judge_ipv4(&mut raced(&plan));
        assert_eq!(told(&diagnosis), [format!("conntrack-insert-race {SERVICE}")]);
        let finding = &diagnosis.findings[0];
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.evidence.iter().any(|it| it.contains("insert_failed")));
    }
}

#[test]
fn races_that_lose_nothing_and_losses_without_a_race_are_not_told() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let changes: [&dyn Fn(&mut Evidence); 7] = [
        // Resolved, as kernels do since 5.0.
        &|it| server(it).timeouts.clear(),
        &|it| conntrack(it).insert_failed = 0,
        &|it| conntrack(it).insert_failed = LOST - 1,
        // Something else drops them there: no look-up got half of its answers.
        &|it| it.traffic.as_mut().unwrap().flows.retain(|flow| flow.packets.pod_in != 1),
        &|it| server(it).timeouts[0].query = Stage::WireOut,
        &|it| server(it).timeouts[0].answer = Some(Stage::WireIn),
        // There is no room for connections at all.
        &|it| conntrack(it).dropped = 20,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut evidence = raced(&plan);
        change(&mut evidence);
        let told = told(&judge_ipv4(&mut evidence));
        assert!(told.iter().all(|it| !it.starts_with("conntrack-insert")), "{number}: {told:?}");
    }
}
