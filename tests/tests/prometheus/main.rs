//! Prometheus itself: its judge of a scrape, and a server that scrapes two nodes. A suite of its own,
//! because a guest of `cargo xtask vm` does not have it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod server;

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{IpAddr, SocketAddrV4},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::ensure;
use tracer_tests::{
    daemon::Daemon,
    fault::named,
    lab::{LOCK_WAIT, Lab},
    lan::loss,
    plan::{Family, Node, Plan},
    poll::{poll_true, poll_until},
    seed::Shape,
    tracer::Intent,
};

use self::server::Prometheus;

/// Names promtool; `cargo xtask setup` brings it.
const PROMTOOL: &str = "FLANNEL_TRACER_PROMTOOL";
/// How long a finding may take to open.
const OPENS: Duration = Duration::from_secs(30);

#[test]
fn promtool_has_nothing_to_say_about_a_scrape() {
    let shape = Shape { nodes: Some(3), ..Shape::default() };
    let lab = Lab::up(Plan::draw(461, &shape), LOCK_WAIT).unwrap();
    let site = lab.plan().site;
    let _traffic = lab.traffic_all_pairs();
    let daemon = lab.daemon(site.victim, Intent::PeersFile, &[]).unwrap();
    let _injection = lab.inject(&named("fdb-entry-missing").unwrap(), site).unwrap();
    // A finding has samples of its own.
    poll_true("a finding to open", OPENS, || {
        daemon.scrape().is_ok_and(|metrics| metrics.beginning("finding{").count() > 0)
    })
    .unwrap();
    let text = daemon.get("/metrics", "*/*").unwrap().body;
    let program = std::env::var(PROMTOOL).unwrap_or_else(|_| "promtool".to_owned());
    let mut promtool = Command::new(&program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup` brings it"));
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "promtool says:\n{said}");
}

/// Where the daemons listen for the LAN.
const PORT: u16 = 19469;
/// How long a query may take to tell what a fault does.
const TOLD: Duration = Duration::from_secs(60);
/// Which flow lost what, why, and on which node, in the last ten seconds: the README's first query.
const LOST: &str = r#"sum by (instance, source, destination, cause) (
  increase(flannel_tracer_flow_drops_total{source!="other"}[10s])) > 0"#;
/// What one node sent to another and that one never got, in the last ten seconds, by the pod networks
/// of both: the README's second query.
const MISSING: &str = r#"sum by (from, to) (
  label_replace(increase(flannel_tracer_peer_packets_total{stage="wire_out"}[10s]), "to", "$1", "peer", "(.*)")
  * on (instance) group_left (from) label_replace(flannel_tracer_node_info, "from", "$1", "pod_cidr", "(.*)"))
- sum by (from, to) (
  label_replace(increase(flannel_tracer_peer_packets_total{stage="wire_in"}[10s]), "from", "$1", "peer", "(.*)")
  * on (instance) group_left (to) label_replace(flannel_tracer_node_info, "to", "$1", "pod_cidr", "(.*)"))"#;

#[test]
fn a_prometheus_that_scrapes_two_nodes_tells_which_flow_lost_what_and_what_one_sent_and_the_other_never_got()
 {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    let lab = Lab::up(Plan::draw(462, &shape), LOCK_WAIT).unwrap();
    let site = lab.plan().site;
    let nodes = [&lab.plan().nodes[0], &lab.plan().nodes[1]];
    let _traffic = lab.traffic_all_pairs();
    let _daemons = [0, 1].map(|node| listening(&lab, node));
    let prometheus = Prometheus::of(&nodes.map(target)).unwrap();
    // Both ways, and nothing of what is sent is missing.
    poll_until("both nodes to be scraped", TOLD, || {
        let missing = missing(&prometheus)?;
        ensure!(missing.len() == 2 && missing.values().all(|it| it.abs() < 3.0), "{missing:?}");
        Ok(())
    })
    .unwrap();
    assert_eq!(prometheus.query(LOST).unwrap(), [], "nothing is wrong yet");

    let injection = lab.inject(&named("fdb-entry-missing").unwrap(), site).unwrap();
    let lost = poll_until("a flow that loses packets", TOLD, || {
        let lost = prometheus.query(LOST)?;
        ensure!(lost.iter().any(|(labels, _)| labels["cause"] == "fdb-entry-missing"), "{lost:?}");
        Ok(lost)
    })
    .unwrap();
    let (victim, peer) = (lab.plan().victim(), lab.plan().peer());
    for (labels, _) in lost.iter().filter(|(labels, _)| labels["cause"] != "unexplained") {
        assert_eq!(labels["cause"], "fdb-entry-missing");
        assert_eq!(labels["instance"], target(victim).to_string());
        let address = |name: &str| labels[name].parse::<IpAddr>().unwrap();
        assert!(
            is_in(victim, address("source")) && is_in(peer, address("destination")),
            "{lost:?}"
        );
    }
    injection.heal().unwrap();

    let [from, to] = nodes.map(|node| node.subnet.of(Family::V4).to_string());
    loss::begin(lab.plan(), &[(nodes[0], nodes[1])]).run().unwrap();
    poll_until("what one sent and the other never got", TOLD, || {
        let missing = missing(&prometheus)?;
        let of = |from: &String, to: &String| missing[&(from.clone(), to.clone())];
        let is_told = of(&from, &to) > 10.0 && of(&to, &from).abs() < 3.0;
        ensure!(is_told, "{missing:?}, from {from} to {to}");
        Ok(())
    })
    .unwrap();
    loss::end().run().unwrap();
}

/// A daemon that the LAN can scrape.
fn listening(lab: &Lab, node: usize) -> Daemon {
    lab.daemon(node, Intent::PeersFile, &["--listen", &format!("0.0.0.0:{PORT}")]).unwrap()
}

fn target(node: &Node) -> SocketAddrV4 {
    SocketAddrV4::new(node.ip.v4, PORT)
}

fn is_in(node: &Node, address: IpAddr) -> bool {
    node.subnet.of(Family::V4).contains(&address)
}

/// Packets that are missing, by where they came from and where they should have come to.
fn missing(prometheus: &Prometheus) -> anyhow::Result<BTreeMap<(String, String), f64>> {
    let series = prometheus.query(MISSING)?;
    Ok(series
        .into_iter()
        .map(|(it, value)| ((it["from"].clone(), it["to"].clone()), value))
        .collect())
}
