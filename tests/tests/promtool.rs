//! Prometheus' own judge of a scrape: a suite of its own, because a guest of `cargo xtask vm` does
//! not have it.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use tracer_tests::{
    fault::named,
    lab::{LOCK_WAIT, Lab},
    plan::Plan,
    poll::poll_true,
    seed::Shape,
    tracer::Intent,
};

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
