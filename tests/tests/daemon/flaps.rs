//! Devices that go and come ten times a second, and tables that change all the time.

use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;
use tracer_tests::{
    fault::named,
    flannel,
    plan::{Family, Plan, Site},
    poll::{poll_true, poll_until},
    script::{Script, run_all},
    size,
    tracer::Intent,
};

use super::{
    devices::{ATTACHED, HOOKS, assert_counts_go_on, hooks},
    lab, storm, wait_until_all_is_well,
};

/// From one flap to the next.
const FLAP: Duration = Duration::from_millis(100);
/// How long a device flaps.
const FLAPPING: Duration = Duration::from_secs(3);
/// Fewer would be no flapping; a busy machine does not manage all.
const FLAPS: usize = 15;
/// The same where programs are interpreted.
const FEW_FLAPS: usize = 5;

/// Something that is done again and again; dropping it ends it.
struct Repeated {
    stop: Option<Sender<()>>,
    doing: Option<JoinHandle<usize>>,
}

// === impl Repeated ===

impl Repeated {
    /// Runs scripts every `pace`.
    fn start(scripts: Vec<Script>, pace: Duration) -> Self {
        let (stop, stopped) = channel::<()>();
        let doing = thread::spawn(move || {
            let begin = Instant::now();
            for times in 1_u32.. {
                run_all(&scripts).unwrap();
                let rest = (pace * times).saturating_sub(begin.elapsed());
                if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return times as usize;
                }
            }
            0
        });
        Self { stop: Some(stop), doing: Some(doing) }
    }

    /// Ends it: how many times it was done.
    fn end(mut self) -> usize {
        drop(self.stop.take());
        self.doing.take().unwrap().join().unwrap()
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        drop(self.stop.take());
        // After a failure nobody is interested in how it went on.
        let _ = self.doing.take().map(JoinHandle::join);
    }
}

/// The bridge of the first node goes down and comes up at once.
fn flap_of_bridge(plan: &Plan) -> Vec<Script> {
    let node = &plan.nodes[0];
    let lines = ["down", "up"].map(|state| format!("link set {} {state}", node.bridge));
    vec![Script::ip(&node.namespace, lines)]
}

/// The overlay device of the first node is deleted, and flannel makes it anew with all entries.
fn flap_of_overlay(plan: &Plan) -> Vec<Script> {
    let node = &plan.nodes[0];
    let gone = Script::ip(&node.namespace, [format!("link del {}", plan.overlay(Family::V4))]);
    std::iter::once(gone).chain(flannel::restart(plan, node, Family::V4)).collect()
}

#[test]
fn a_device_that_flaps_ten_times_a_second_is_no_finding_and_is_attached_to_within_a_second() {
    let flaps: [fn(&Plan) -> Vec<Script>; 2] = [flap_of_bridge, flap_of_overlay];
    for (seed, flap) in (455..).zip(flaps) {
        let lab = lab(seed, 2);
        let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
        let before = assert_counts_go_on(&lab, &daemon, &daemon.scrape().unwrap());
        let flapping = Repeated::start(flap(lab.plan()), FLAP);
        let begin = Instant::now();
        poll_true("the flapping", 2 * FLAPPING, || begin.elapsed() >= FLAPPING).unwrap();
        let times = flapping.end();
        poll_until("every device to be attached to", ATTACHED, || {
            anyhow::ensure!(hooks(&lab) == HOOKS, "{} hooks", hooks(&lab));
            Ok(())
        })
        .unwrap();
        println!("{times} flaps in {:?}", begin.elapsed());
        assert!(times >= size::of(FLAPS, FEW_FLAPS), "{times} flaps");
        assert_counts_go_on(&lab, &daemon, &before);
        wait_until_all_is_well(&daemon);
        assert_eq!(daemon.events_of("finding-opened"), Vec::<Value>::new());
    }
}

#[test]
fn a_check_while_a_device_flaps_finds_nothing() {
    let lab = lab(457, 2);
    let flapping = Repeated::start(flap_of_bridge(lab.plan()), FLAP);
    for _ in 0..3 {
        let answer = lab.check(0, Intent::SubnetEnv, &["--duration", "1s"]).unwrap();
        assert_eq!((answer.status, answer.findings()), (0, vec![]), "{:#}", answer.json);
    }
    assert!(flapping.end() >= size::of(FLAPS, FEW_FLAPS));
}

#[test]
fn a_check_in_a_storm_of_changes_finds_what_is_wrong_and_nothing_else() {
    let lab = lab(458, 2);
    let (plan, site) = (lab.plan(), Site { victim: 0, peer: 1, family: Family::V4 });
    let _traffic = lab.traffic_all_pairs();
    let begin = Instant::now();
    let storm = Repeated::start(vec![storm::changes(&plan.nodes[0])], Duration::ZERO);
    let check = || lab.check(0, Intent::SubnetEnv, &["--duration", "2s"]).unwrap();
    let answer = check();
    assert_eq!((answer.status, answer.findings()), (0, vec![]), "{:#}", answer.json);
    let fault = named("fdb-entry-missing").unwrap();
    let injection = lab.inject(&fault, site).unwrap();
    let answer = check();
    let expected = fault.here(plan, site);
    assert_eq!(answer.findings(), [(expected.code, &*expected.key)], "{:#}", answer.json);
    assert_eq!(answer.status, 1);
    injection.heal().unwrap();
    let rate = (storm.end() * storm::CHANGES) as f64 / begin.elapsed().as_secs_f64();
    println!("{rate:.0} changes a second");
    assert!(rate > size::of(10_000.0, 1_000.0), "{rate} changes a second are no storm");
}
