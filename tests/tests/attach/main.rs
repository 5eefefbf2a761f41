//! The tracer leaves a node's hooks as it found them, however it ends, and is no trouble to others.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod foreign;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use tracer::{
    evidence::{HookDirection, Intent as Meant},
    kernel::{AttachMode, Session, plan},
    netlink::dump_tables,
    topology::{Topologies, detect_roles},
};
use tracer_tests::{
    attached::Attached,
    lab::{LOCK_WAIT, Lab},
    matrix::Attach,
    netns,
    plan::{Plan, SYSLOG_PORT},
    poll::poll_until,
    process,
    seed::Shape,
    tracer::{Intent, tracer_command},
    traffic::{Flow, Limits},
    watch::{Watch, Watched},
};

use self::foreign::{Foreign, Way};

/// Hooks of a node: both sides of bridge, overlay device and uplink.
const HOOKS: usize = 6;
/// Both sides of the uplink, where VIPs may be.
const VIP_HOOKS: usize = 2;
/// How long the kernel may take to release a dead process's links and queues.
const RELEASE: Duration = Duration::from_secs(5);
const DATAGRAMS: u64 = 500;

/// The ways that this kernel has.
fn modes() -> impl Iterator<Item = Attach> {
    Attach::on_this_kernel().iter().copied()
}

fn has_tcx() -> bool {
    modes().any(|mode| mode == Attach::Tcx)
}

fn lab(seed: u64) -> Lab {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

fn attached(lab: &Lab) -> Attached {
    Attached::on(lab.plan(), &lab.plan().nodes[0]).unwrap()
}

fn tc(namespace: &str, arguments: &[&str]) {
    let output = netns::command_in(namespace, "tc").args(arguments).output().unwrap();
    assert!(output.status.success(), "tc {arguments:?}: {output:?}");
}

fn watch(lab: &Lab, mode: &str) -> Watch {
    lab.watch(0, Intent::SubnetEnv, &["--attach", mode]).unwrap()
}

fn assert_attached(lab: &Lab, before: &Attached, mode: &str) {
    let now = attached(lab);
    let (tcx, clsact) = if mode == "tcx" { (HOOKS, 0) } else { (0, HOOKS) };
    assert_eq!(now.tcx.len(), before.tcx.len() + tcx, "{mode}: {now:?}");
    assert_eq!(now.our_filters(), before.our_filters() + clsact, "{mode}: {now:?}");
}

/// Waits for it: the kernel releases the links of a killed process a little later.
fn assert_as_before(lab: &Lab, before: &Attached, what: &str) {
    poll_until(&format!("{what}: as before"), RELEASE, || {
        let now = attached(lab);
        anyhow::ensure!(now == *before, "{now:#?} instead of {before:#?}");
        Ok(())
    })
    .unwrap();
}

fn tracer(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let node = &lab.plan().nodes[0];
    let mut command = tracer_command(node).unwrap();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = process::run(&node.namespace, &mut command).unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Sends from a pod of the first node to one of the second.
fn send(lab: &Lab) {
    let [from, to] = [0, 1].map(|node| lab.plan().nodes[node].first_pod().unwrap());
    let flow = Flow::UdpOneWay { to: to.at(lab.plan().site.family, SYSLOG_PORT), size: 120 };
    let limits = Limits::exactly(DATAGRAMS, 5_000.0);
    let sent = netns::run_in(&from.namespace, || {
        flow.generate(limits, &tracer_tests::traffic::Stop::default())
    })
    .unwrap();
    assert_eq!((sent.sent, sent.errors), (DATAGRAMS, 0));
}

fn counted(watched: &Watched) -> [u64; 3] {
    assert_eq!(watched.check.findings(), []);
    let stages = &watched.evidence["traffic"]["stages"];
    ["pod_out", "overlay_out", "wire_out"].map(|stage| stages[stage]["packets"].as_u64().unwrap())
}

#[test]
fn nothing_is_attached_after_any_end() {
    let lab = lab(111);
    let before = attached(&lab);
    assert_eq!((before.our_filters(), before.tcx.len()), (0, 0));
    for mode in modes().map(Attach::name) {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let watch = watch(&lab, mode);
            assert_attached(&lab, &before, mode);
            let watched = watch.end_by(signal).unwrap();
            assert_eq!(watched.check.status, 0, "a signal ends the window, not the answer");
            assert_eq!(attached(&lab), before, "{mode}, {signal}");
        }
        let own_end = lab.check(0, Intent::SubnetEnv, &["--attach", mode, "--duration", "1s"]);
        assert_eq!(own_end.unwrap().status, 0);
        assert_eq!(attached(&lab), before, "{mode}, its own end");
    }
}

/// The session as the binary uses it, on a thread that panics while it is attached.
#[test]
fn nothing_is_attached_after_a_panic() {
    let lab = lab(112);
    let before = attached(&lab);
    for way in modes() {
        let name = way.name();
        let mode = if way == Attach::Tcx { AttachMode::Tcx } else { AttachMode::Clsact };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            netns::run_in(&lab.plan().nodes[0].namespace, || {
                let _session = session(mode);
                assert_attached(&lab, &before, name);
                panic!("on purpose");
            })
        }));
        let said = panicked.map(|_: anyhow::Result<()>| ()).unwrap_err();
        assert_eq!(said.downcast_ref(), Some(&"on purpose"), "{name}: not attached");
        assert_as_before(&lab, &before, name);
    }
}

/// In the namespace of the calling thread.
fn session(mode: AttachMode) -> Session {
    let (tables, meant) = (dump_tables().unwrap(), Meant::default());
    let roles = detect_roles(&tables, &meant).unwrap();
    let topologies = Topologies::from_parts(Some(&tables), &meant, &roles, None);
    Session::start(&plan(&topologies, &tables), mode).unwrap()
}

#[test]
fn a_killed_tracer_leaves_nothing_by_tcx() {
    let lab = lab(113);
    let before = attached(&lab);
    if !has_tcx() {
        // Who asks for it gets no hook, and nothing else in its place.
        let answer = lab.check(0, Intent::SubnetEnv, &["--attach", "tcx", "--duration", "1s"]);
        assert_eq!(answer.unwrap().json["coverage"]["stages"], false);
        assert_eq!(attached(&lab), before);
        return;
    }
    let watch = watch(&lab, "tcx");
    assert_attached(&lab, &before, "tcx");
    watch.kill().unwrap();
    assert_as_before(&lab, &before, "killed");
}

#[test]
fn what_a_killed_tracer_leaves_by_clsact_is_removed_and_foreign_filters_stay() {
    let lab = lab(114);
    let node = &lab.plan().nodes[0];
    // The uplink has a clsact qdisc and a filter of somebody else; the others have none.
    let foreign = [HookDirection::Ingress, HookDirection::Egress]
        .map(|it| Foreign::attach(&node.namespace, &node.uplink, it, Way::Clsact).unwrap());
    let before = attached(&lab);
    assert!(before.filters.iter().any(|line| line.contains(" foreign ")), "{before:?}");

    let leave = || {
        let watch = watch(&lab, "clsact");
        assert_attached(&lab, &before, "clsact");
        watch.kill().unwrap();
        assert_eq!(attached(&lab).our_filters(), HOOKS, "the kernel keeps them");
        assert_eq!(attached(&lab).vip_filters(), VIP_HOOKS, "these too");
    };
    leave();
    let (status, said) = tracer(&lab, &["cleanup"]);
    let removed = said.matches("removed the").count();
    assert_eq!((status, removed), (Some(0), HOOKS + VIP_HOOKS), "{said}");
    assert_eq!(attached(&lab), before, "cleanup");
    let (status, said) = tracer(&lab, &["cleanup"]);
    assert!(status == Some(0) && said.starts_with("nothing to remove"), "{said}");

    let mut starts = 0;
    for next in modes().map(Attach::name) {
        starts += 1;
        leave();
        let watch = watch(&lab, next);
        assert_attached(&lab, &before, next);
        send(&lab);
        assert_eq!(counted(&watch.end().unwrap()), [DATAGRAMS; 3], "{next}");
        assert_eq!(attached(&lab), before, "the next start, by {next}");
    }
    assert!(foreign[1].seen().unwrap() >= starts * DATAGRAMS);
}

#[test]
fn cleanup_leaves_a_living_tracer_alone() {
    let lab = lab(115);
    let before = attached(&lab);
    let watch = watch(&lab, "clsact");
    let (status, said) = tracer(&lab, &["cleanup"]);
    assert!(status == Some(0) && said.starts_with("nothing to remove"), "{said}");
    assert_attached(&lab, &before, "clsact");
    send(&lab);
    assert_eq!(counted(&watch.end().unwrap()), [DATAGRAMS; 3]);
    assert_eq!(attached(&lab), before);
}

#[test]
fn two_tracers_on_a_node_do_not_disturb_each_other() {
    let lab = lab(116);
    let before = attached(&lab);
    let pairs = [("clsact", "clsact"), ("tcx", "tcx"), ("tcx", "clsact")];
    for (one, other) in pairs.into_iter().take(if has_tcx() { 3 } else { 1 }) {
        let first = watch(&lab, one);
        let second = watch(&lab, other);
        send(&lab);
        assert_eq!(counted(&first.end().unwrap()), [DATAGRAMS; 3], "{one} beside {other}");
        assert_attached(&lab, &before, other);
        send(&lab);
        assert_eq!(counted(&second.end().unwrap()), [2 * DATAGRAMS; 3], "{other} after {one}");
        assert_eq!(attached(&lab), before, "{one} and {other}");
    }
}

#[test]
fn foreign_programs_see_every_packet_beside_ours() {
    let lab = lab(117);
    let node = &lab.plan().nodes[0];
    let places = [
        (node.bridge.clone(), HookDirection::Ingress),
        (lab.plan().overlay(lab.plan().site.family), HookDirection::Egress),
        (node.uplink.clone(), HookDirection::Egress),
    ];
    for way in modes().map(Way::from) {
        for mode in modes().map(Attach::name) {
            let attach = |(device, direction): &(String, HookDirection)| {
                Foreign::attach(&node.namespace, device, *direction, way).unwrap()
            };
            let early: Vec<Foreign> = places.iter().map(attach).collect();
            let watch = watch(&lab, mode);
            // Behind ours in the chain of TCX; of clsact filters one set is enough.
            let late = places.iter().filter(|_| way == Way::Tcx).map(attach);
            let programs: Vec<Foreign> = early.into_iter().chain(late).collect();
            let before: Vec<u64> = programs.iter().map(|it| it.seen().unwrap()).collect();
            send(&lab);
            for (program, before) in programs.iter().zip(before) {
                let seen = program.seen().unwrap() - before;
                assert!(seen >= DATAGRAMS, "{way:?} beside {mode}: {seen} of {DATAGRAMS}");
            }
            assert_eq!(counted(&watch.end().unwrap()), [DATAGRAMS; 3], "{way:?}, {mode}");
            if way == Way::Clsact {
                remove_foreign_filters(&lab, &places);
            }
        }
    }
}

fn remove_foreign_filters(lab: &Lab, places: &[(String, HookDirection)]) {
    for (device, _) in places {
        tc(&lab.plan().nodes[0].namespace, &["qdisc", "del", "dev", device, "clsact"]);
    }
}
