//! DNS queries are paired with their answers: what the tracer says of a server is what its clients
//! know of it, on the clients' node and on the server's.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod agree;
mod flood;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::Value;
use tracer_tests::{
    fault::filter::Chain,
    lab::{LOCK_WAIT, Lab},
    plan::{DNS_NAME, Family, Plan, Pod, Stack},
    poll::poll_true,
    responder::{Manner, Responder, TURN},
    seed::Shape,
    size,
    tracer::Intent,
    traffic::{Counts, Flow, Limits, Sender, Traffic},
    watch::Watched,
};

const PORT: u16 = 53;
/// What the tracer is told; longer than a healthy answer takes on a busy machine.
const TIMEOUT: Duration = Duration::from_millis(600);
const QUERIES: [u64; 2] = [500, 50];
/// One query in so many is not answered.
const SILENT: u64 = 7;

fn lab(seed: u64) -> Lab {
    lab_with(seed, false)
}

/// `bridge_netfilter` says whether the bridges translate addresses before their hooks.
fn lab_with(seed: u64, bridge_netfilter: bool) -> Lab {
    let (nodes, stack) = (Some(2), Stack::Dual);
    let shape = Shape { nodes, stack, bridge_netfilter, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// The index of the node that has no DNS server, whose pods ask.
fn client_node(lab: &Lab) -> usize {
    1 - lab.plan().dns.node
}

/// Runs a check on both nodes while `work` is done: what it says, the clients' node first.
fn watched<T>(lab: &Lab, work: impl FnOnce() -> T) -> ([Watched; 2], T) {
    let nodes = [client_node(lab), lab.plan().dns.node];
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    let watches =
        nodes.map(|it| lab.watch(it, Intent::SubnetEnv, &["--dns-timeout", &timeout]).unwrap());
    let done = work();
    let end = Instant::now();
    let is_over = || end.elapsed() >= TIMEOUT + TURN;
    poll_true("what was not answered to time out", 2 * TIMEOUT, is_over).unwrap();
    (watches.map(|watch| watch.end().unwrap()), done)
}

/// Asks from the first pod of the clients' node.
fn ask(lab: &Lab, server: SocketAddr, queries: u64) -> Counts {
    let pod = lab.plan().nodes[client_node(lab)].first_pod().unwrap();
    let flow = Flow::Dns { server, name: DNS_NAME.to_owned() };
    let limits = Limits::exactly(queries, 200.0);
    let sender = Sender { namespace: pod.namespace.clone(), flow, limits };
    let [(_, counts)] = Traffic::start(vec![sender]).finish().unwrap()[..] else { panic!() };
    assert_eq!((counts.sent, counts.errors), (queries, 0));
    counts
}

/// A DNS server of the tests' own, in a pod.
fn responder(pod: &Pod, family: Family, manner: Manner) -> Responder {
    let at = SocketAddr::new(pod.ip.of(family), PORT);
    Responder::start(&pod.namespace, at, manner).unwrap()
}

/// The row of a server over UDP.
fn row(watched: &Watched, server: IpAddr) -> &Value {
    let rows = watched.check.json["dns"].as_array().unwrap();
    let is_it = |row: &&Value| row["server"] == server.to_string() && row["transport"] == "udp";
    rows.iter().find(is_it).unwrap_or_else(|| panic!("no {server} in {rows:#?}"))
}

/// Queries, answers, timeouts, pending, and queries that were lost sight of.
fn sums(row: &Value) -> [u64; 5] {
    ["queries", "answers", "timeouts", "pending", "lost_sight"]
        .map(|key| row[key].as_u64().unwrap())
}

#[test]
fn a_service_and_its_server_are_told_exactly_on_both_nodes() {
    let lab = lab(601);
    let dns = lab.plan().dns.clone();
    let queries = size::of(QUERIES[0], QUERIES[1]);
    let (seen, ()) = watched(&lab, || {
        for family in [Family::V4, Family::V6] {
            for server in [dns.cluster_ip.of(family), dns.pod_ip.of(family)] {
                let counts = ask(&lab, SocketAddr::new(server, PORT), queries);
                assert_eq!(counts.answered, queries);
            }
        }
    });
    let [client, server] = &seen;
    for family in [Family::V4, Family::V6] {
        let (service, pod) = (dns.cluster_ip.of(family), dns.pod_ip.of(family));
        for address in [service, pod] {
            let row = row(client, address);
            assert_eq!(sums(row), [queries, queries, 0, 0, 0], "{row:#}");
            assert_eq!(row["endpoint"], pod.to_string());
            assert_eq!((&row["rcodes"]["NOERROR"], &row["retries"]), (&queries.into(), &0.into()));
        }
        let row = row(server, pod);
        assert_eq!(sums(row), [2 * queries, 2 * queries, 0, 0, 0], "{row:#}");
    }
    for watched in seen {
        // That the bridges do not translate is all that may be told.
        let mut findings = watched.check.findings();
        findings.retain(|(code, _)| *code != "bridge-nf-call-off");
        assert_eq!(findings, []);
        assert_eq!(watched.check.json["self"]["parse_errors"], 0);
    }
}

#[test]
fn where_the_bridge_translates_the_server_is_told_and_not_the_service() {
    let lab = lab_with(606, true);
    let dns = lab.plan().dns.clone();
    let queries = size::of(QUERIES[0], QUERIES[1]);
    let (seen, ()) = watched(&lab, || {
        for family in [Family::V4, Family::V6] {
            let counts = ask(&lab, lab.plan().dns_server(family), queries);
            assert_eq!(counts.answered, queries);
        }
    });
    for watched in &seen {
        let rows = watched.check.json["dns"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{rows:#?}");
        for family in [Family::V4, Family::V6] {
            // A kernel whose bridges cannot do it shows the service.
            let addresses = [dns.pod_ip.of(family), dns.cluster_ip.of(family)];
            let addresses = addresses.map(|it| Value::from(it.to_string()));
            let is_it = |row: &&Value| addresses.contains(&row["server"]);
            let row = rows.iter().find(is_it).unwrap();
            assert_eq!(sums(row), [queries, queries, 0, 0, 0], "{row:#}");
            assert_eq!(row["unmatched"], 0, "{row:#}");
        }
    }
}

#[test]
fn a_server_that_drops_every_seventh_query_is_told_to_have_dropped_so_many() {
    let lab = lab(602);
    let queries = size::of(QUERIES[0], QUERIES[1]);
    let pod = lab.plan().nodes[lab.plan().dns.node].first_pod().unwrap().clone();
    let at = SocketAddr::new(pod.ip.of(Family::V4), PORT);
    let asked = responder(&pod, Family::V4, Manner { silent: Some(SILENT), ..Manner::default() });
    let (seen, counts) = watched(&lab, || ask(&lab, at, queries));
    assert_eq!(asked.end().unwrap(), queries);
    let silent = queries / SILENT;
    assert_eq!(counts.answered, queries - silent);
    for (watched, last) in seen.iter().zip(["wire_out", "pod_in"]) {
        let row = row(watched, at.ip());
        assert_eq!(sums(row), [queries, queries - silent, silent, 0, 0], "{row:#}");
        assert_eq!(
            (&row["lost_after_stage"], &row["answer_last_stage"]),
            (&last.into(), &Value::Null)
        );
    }
}

#[test]
fn an_answer_after_the_timeout_is_late() {
    let lab = lab(603);
    let pod = lab.plan().nodes[lab.plan().dns.node].first_pod().unwrap().clone();
    let at = SocketAddr::new(pod.ip.of(Family::V6), PORT);
    let asked = responder(&pod, Family::V6, Manner { delay: TIMEOUT + TURN, ..Manner::default() });
    let (seen, counts) = watched(&lab, || {
        let counts = ask(&lab, at, 3);
        // One after the other, each later than its client waits.
        let (end, all) = (Instant::now(), 3 * (TIMEOUT + TURN));
        poll_true("all answers to be sent", 2 * all, || end.elapsed() >= all).unwrap();
        counts
    });
    assert_eq!((asked.end().unwrap(), counts.answered), (3, 0));
    for watched in &seen {
        let row = row(watched, at.ip());
        assert_eq!(sums(row), [3, 0, 3, 0, 0], "{row:#}");
        assert_eq!(row["late"], 3, "{row:#}");
    }
}

#[test]
fn a_query_that_the_node_drops_is_lost_after_the_stage_before() {
    let lab = lab(604);
    let node = &lab.plan().nodes[client_node(&lab)];
    let server = lab.plan().dns_server(Family::V4);
    let dropping = Chain::inet("forward").dropping(node, "udp dport 53").unwrap();
    let (seen, counts) = watched(&lab, || ask(&lab, server, 5));
    drop(dropping);
    assert_eq!(counts.answered, 0);
    let row = row(&seen[0], server.ip());
    assert_eq!(sums(row), [5, 0, 5, 0, 0], "{row:#}");
    assert_eq!(row["lost_after_stage"], "pod_out");
}
