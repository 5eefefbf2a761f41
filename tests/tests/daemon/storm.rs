//! More changes than a socket holds, and a device that flaps.

use std::{
    collections::BTreeMap,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tracer_tests::{
    daemon::Daemon,
    fault::named,
    plan::{Node, Site},
    poll::poll_until,
    script::Script,
    size,
    tracer::Intent,
};

use super::{OPENS, lab, told, wait_until_all_is_well};

/// Changes of routes in one go; a second takes some 50,000 of them.
pub(super) const CHANGES: usize = 10_000;
/// Fewer changes a second are no storm; the second where programs are interpreted.
const LEAST: [f64; 2] = [10_000.0, 500.0];
/// How long the storm blows.
const STORM: Duration = Duration::from_secs(5);
/// Lines a second on stdout at most, and one a cause at the end of each.
const LINES_A_SECOND: usize = 120;
/// How soon the tables are right again.
const RESYNCHRONISED: Duration = Duration::from_secs(10);
/// A device goes down and up again ten times a second.
const HALF_A_FLAP: Duration = Duration::from_millis(50);
/// How long it flaps.
const FLAPPING: Duration = Duration::from_secs(40);

/// So many changes: each route comes and goes.
pub(super) fn changes(node: &Node) -> Script {
    let lines = (0..CHANGES / 2).flat_map(|number| {
        let route = format!("198.18.{}.{}/32 dev {}", number / 250, number % 250, node.uplink);
        [format!("route add {route}"), format!("route del {route}")]
    });
    Script::ip(&node.namespace, lines)
}

fn wait_for_overrun(daemon: &Daemon) -> f64 {
    poll_until("the overrun to be counted", RESYNCHRONISED, || {
        let overruns = daemon.scrape()?.value("netlink_overruns_total")?;
        anyhow::ensure!(overruns > 0.0, "none");
        Ok(overruns)
    })
    .unwrap()
}

#[test]
fn a_storm_of_changes_neither_stops_the_daemon_nor_floods_its_reader() {
    let lab = lab(451, 2);
    let plan = lab.plan();
    let site = Site { victim: 0, peer: 1, ..plan.site };
    let node = &plan.nodes[0];
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < STORM {
        changes(node).run().unwrap();
        rounds += 1;
        assert_eq!(daemon.get("/healthz", "*/*").unwrap().status, 200);
    }
    let rate = (rounds * CHANGES) as f64 / begin.elapsed().as_secs_f64();
    assert!(rate > size::of(LEAST[0], LEAST[1]), "{rate} changes a second are no storm");
    let lines = daemon.events_of("table-change").len();
    let most = LINES_A_SECOND * (begin.elapsed().as_secs() as usize + 2);
    println!("{rate:.0} changes a second: {lines} lines in {:?}", begin.elapsed());
    assert!(lines < most, "{lines} lines");
    // What happens afterwards is seen as ever.
    let fault = named("fdb-entry-missing").unwrap();
    let injection = lab.inject(&fault, site).unwrap();
    let expected = fault.here(plan, site);
    poll_until("the finding", OPENS, || {
        anyhow::ensure!(!told(&daemon, "finding-opened").is_empty(), "nothing opened");
        Ok(())
    })
    .unwrap();
    assert_eq!(told(&daemon, "finding-opened"), [(expected.code.to_owned(), expected.key)]);
    injection.heal().unwrap();
    wait_until_all_is_well(&daemon);
}

#[test]
fn what_a_full_socket_did_not_take_is_counted_and_read_again() {
    let lab = lab(452, 2);
    let plan = lab.plan();
    let site = Site { victim: 0, peer: 1, ..plan.site };
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    assert_eq!(daemon.scrape().unwrap().value("netlink_overruns_total").unwrap(), 0.0);
    // It hears nothing while its socket fills, and the fault drowns.
    daemon.signal(Signal::SIGSTOP).unwrap();
    for _ in 0..5 {
        changes(&plan.nodes[0]).run().unwrap();
    }
    let fault = named("neigh-entry-missing").unwrap();
    let injection = lab.inject(&fault, site).unwrap();
    daemon.signal(Signal::SIGCONT).unwrap();
    println!("overruns: {}", wait_for_overrun(&daemon));
    poll_until("the finding", OPENS, || {
        anyhow::ensure!(!told(&daemon, "finding-opened").is_empty(), "nothing opened");
        Ok(())
    })
    .unwrap();
    let expected = fault.here(plan, site);
    assert_eq!(told(&daemon, "finding-opened"), [(expected.code.to_owned(), expected.key)]);
    assert!(daemon.events_of("lost").iter().any(|event| event["source"] == "netlink"));
    injection.heal().unwrap();
    wait_until_all_is_well(&daemon);
}

#[test]
fn a_device_that_flaps_ten_times_a_second_does_not_make_findings_flap() {
    let lab = lab(453, 2);
    let plan = lab.plan();
    let site = Site { victim: 0, peer: 1, ..plan.site };
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let before = daemon.scrape().unwrap();
    let (stop, stopped) = channel::<()>();
    let (overlay, namespace) = (plan.overlay(site.family), plan.nodes[0].namespace.clone());
    let flapping = thread::spawn(move || {
        let mut flaps = 0;
        loop {
            for state in ["down", "up"] {
                let line = format!("link set {overlay} {state}");
                Script::ip(&namespace, [line]).run().unwrap();
                if stopped.recv_timeout(HALF_A_FLAP) != Err(RecvTimeoutError::Timeout) {
                    return flaps;
                }
            }
            flaps += 1;
        }
    });
    let begin = Instant::now();
    poll_until("the flapping to have gone on for a while", 2 * FLAPPING, || {
        let now = daemon.scrape()?;
        assert!(now.fallen_since(&before).is_empty(), "{:?}", now.fallen_since(&before));
        anyhow::ensure!(begin.elapsed() >= FLAPPING, "not yet");
        Ok(())
    })
    .unwrap();
    drop(stop);
    let flaps = flapping.join().unwrap();
    let opened = told(&daemon, "finding-opened");
    let mut times: BTreeMap<_, usize> = BTreeMap::new();
    for name in &opened {
        *times.entry(name.clone()).or_default() += 1;
    }
    println!("{flaps} flaps opened {times:?}");
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
    // Repaired, it is well again.
    lab.inject(&named("flannel-link-flapped-state-lost").unwrap(), site).unwrap().heal().unwrap();
    wait_until_all_is_well(&daemon);
}
