//! `run` and `watch`: the production binary as a daemon on a node of the lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod budget;
mod crowd;
mod devices;
mod dropped;
mod end;
mod findings;
mod flaps;
mod metrics;
mod samples;
mod storm;
mod stream;

use std::time::Duration;

use serde_json::Value;
use tracer_tests::{
    daemon::Daemon,
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{Plan, SYSLOG_PORT},
    poll::poll_until,
    seed::Shape,
    traffic::{Flow, Limits, Stop},
};

/// A finding opens after two windows of five seconds that say it; the first may begin just before
/// the fault, and reading the maps takes its time on a busy machine.
const OPENS: Duration = Duration::from_secs(30);
/// A finding closes after two windows that do not say it, and later when it has come back before.
const CLOSES: Duration = Duration::from_secs(60);

fn lab(seed: u64, nodes: usize) -> Lab {
    let shape = Shape { nodes: Some(nodes), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Sends datagrams that nobody answers from a pod of the first node to one of the second.
fn send(lab: &Lab, datagrams: u64) {
    let [from, to] = [0, 1].map(|node| lab.plan().nodes[node].first_pod().unwrap());
    let flow = Flow::UdpOneWay { to: to.at(lab.plan().site.family, SYSLOG_PORT), size: 120 };
    let limits = Limits::exactly(datagrams, 5_000.0);
    let sent = netns::run_in(&from.namespace, || flow.generate(limits, &Stop::default())).unwrap();
    assert_eq!((sent.sent, sent.errors), (datagrams, 0));
}

/// Code and subject of the findings of a kind of event, in the order in which they were told.
fn told(daemon: &Daemon, kind: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    daemon
        .events_of(kind)
        .iter()
        .filter(|event| event["held"] != true)
        .map(|event| {
            let finding = &event["finding"];
            (text(&finding["code"]), text(&finding["subject"]["key"]))
        })
        .collect()
}

/// The warnings among what a tracer says on stderr, but that a kernel under lockdown keeps the headers
/// of dropped packets.
fn warnings(said: &str) -> Vec<&str> {
    let is_warning = |line: &&str| line.contains(" WARN ") && !line.contains("lockdown=");
    said.lines().filter(is_warning).collect()
}

/// Waits until all that was opened is closed.
fn wait_until_all_is_well(daemon: &Daemon) {
    poll_until("every finding to close", CLOSES, || {
        let open: Vec<String> =
            daemon.scrape()?.beginning("finding{").map(|(name, _)| name.to_owned()).collect();
        anyhow::ensure!(open.is_empty(), "open: {open:?}");
        Ok(())
    })
    .unwrap();
}
