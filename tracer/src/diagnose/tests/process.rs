//! flannel's process: killed, near its limit, not running.

use super::super::{
    Confidence, Diagnosis, Precision, Severity, SubjectKind, diagnose, exit_status,
    testing::{PASSES, Pass, Plan, dual, finds_nothing, judge, tables, told, twin},
};
use crate::evidence::{Evidence, FlannelMemory, FlannelProcess, OomKill, Platform};

/// What is done to a node.
type Change = fn(&mut Evidence);

const LIMIT: u64 = 50 << 20;

fn memory(percent: u64, oom_kills: u64) -> Option<FlannelMemory> {
    Some(FlannelMemory {
        bytes: LIMIT / 100 * percent,
        limit_bytes: Some(LIMIT),
        oom_kills,
        last_oom: None,
        cgroup: "/kubepods/pod1/flannel".to_owned(),
    })
}

fn kill(name: &str) -> Option<OomKill> {
    Some(OomKill {
        time: "2026-01-01T11:30:00Z".parse().unwrap(),
        name: name.to_owned(),
        pid: 711,
        cgroup: "/kubepods/pod1/flannel".to_owned(),
        by_limit: true,
    })
}

fn kill_it(evidence: &mut Evidence) {
    evidence.flannel.memory = memory(40, 3);
}

fn fill_it(evidence: &mut Evidence) {
    evidence.flannel.memory = memory(80, 0);
}

fn stop_it(evidence: &mut Evidence) {
    evidence.flannel.process = FlannelProcess::None;
    (evidence.flannel.pid, evidence.flannel.since) = (None, None);
}

fn with(plan: &Plan, change: impl FnOnce(&mut Evidence)) -> Diagnosis {
    let mut evidence = plan.evidence();
    change(&mut evidence);
    judge(&mut evidence)
}

#[test]
fn each_fault_is_a_warning_about_the_node_and_breaks_no_peer() {
    for (change, code) in [
        (kill_it as Change, "flanneld-oom-killed"),
        (fill_it, "flanneld-memory-near-limit"),
        (stop_it, "flanneld-not-running"),
    ] {
        for plan in PASSES.into_iter().flat_map(|pass| [1, 3].map(|nodes| Plan::of(nodes, pass))) {
            let diagnosis = with(&plan, change);
            assert_eq!(told(&diagnosis), [format!("{code} {}", format_args!("n{}", plan.own))]);
            let finding = &diagnosis.findings[0];
            assert_eq!(finding.severity, Severity::Warning);
            assert_eq!(finding.confidence, Confidence::Certain);
            assert_eq!(finding.subject.kind, SubjectKind::Node);
            assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty());
            assert!(diagnosis.peers.iter().all(|peer| peer.state.name() == "ok"));
            let mut evidence = plan.evidence();
            change(&mut evidence);
            assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 1);
        }
    }
}

#[test]
fn a_node_of_both_ip_versions_tells_it_once() {
    for change in [kill_it as Change, fill_it, stop_it] {
        let plan = Plan::of(3, Pass::SubnetEnv);
        let mut evidence = plan.evidence();
        change(&mut evidence);
        let both = dual(&evidence, &twin(&evidence).unwrap(), &evidence);
        let diagnosis = diagnose(&both);
        assert_eq!(diagnosis.findings.len(), 1, "{:?}", told(&diagnosis));
        let once = diagnose(&evidence).findings.remove(0);
        assert_eq!(diagnosis.findings[0].remedy, once.remedy);
    }
}

#[test]
fn a_kill_is_dated_by_the_kernels_log() {
    let plan = Plan::of(2, Pass::Tables);
    let since = |change: Change| with(&plan, change).findings.remove(0).since;
    assert_eq!(since(kill_it).precision, Precision::BeforeStart);
    let dated = since(|evidence| {
        kill_it(evidence);
        evidence.flannel.last_kill = kill("flanneld");
        let memory = evidence.flannel.memory.as_mut().unwrap();
        memory.last_oom = kill("flanneld").map(|it| it.time);
    });
    assert_eq!((dated.precision, dated.time), (Precision::Exact, kill("").map(|it| it.time)));
}

/// Version 1 of the cgroups forgets the kills of a container with the container.
#[test]
fn the_log_tells_of_a_former_container_of_the_same_pod() {
    let diagnosis = with(&Plan::of(3, Pass::SubnetEnv), |evidence| {
        evidence.flannel.memory = memory(40, 0);
        evidence.flannel.last_kill = kill("flanneld");
        let memory = evidence.flannel.memory.as_mut().unwrap();
        memory.last_oom = kill("flanneld").map(|it| it.time);
    });
    assert_eq!(told(&diagnosis), ["flanneld-oom-killed n1"]);
}

/// A unit holds other programs, and a counter does not say which of them was killed.
#[test]
fn in_the_unit_of_k3s_only_the_log_tells_who_was_killed() {
    let in_k3s = |evidence: &mut Evidence| {
        kill_it(evidence);
        evidence.flannel.process = FlannelProcess::K3s;
        evidence.node.platform = Platform::K3sAgent;
    };
    finds_nothing(in_k3s);
    let diagnosis = with(&Plan::of(3, Pass::SubnetEnv), |evidence| {
        in_k3s(evidence);
        evidence.flannel.last_kill = kill("k3s-agent");
        let memory = evidence.flannel.memory.as_mut().unwrap();
        memory.last_oom = kill("k3s-agent").map(|it| it.time);
    });
    assert_eq!(told(&diagnosis), ["flanneld-oom-killed n1"]);
    assert_eq!(diagnosis.findings[0].remedy[0], "systemctl set-property k3s-agent MemoryMax=…");
}

#[test]
fn killed_and_near_the_limit_again_is_one_finding() {
    let diagnosis = with(&Plan::of(3, Pass::SubnetEnv), |it| it.flannel.memory = memory(95, 1));
    assert_eq!(told(&diagnosis), ["flanneld-oom-killed n1"]);
    assert_eq!(diagnosis.findings[0].breaks, ["memory of flanneld (95 % of its limit)"]);
}

#[test]
fn memory_is_near_a_limit_from_80_percent_on_and_without_a_limit_never() {
    finds_nothing(|it| it.flannel.memory = memory(79, 0));
    finds_nothing(|it| {
        let memory = memory(99, 0).map(|it| FlannelMemory { limit_bytes: None, ..it });
        it.flannel.memory = memory;
    });
    finds_nothing(|it| {
        let memory = memory(0, 0).map(|it| FlannelMemory { limit_bytes: Some(0), ..it });
        it.flannel.memory = memory;
    });
}

/// Another container's or another node's process on the same machine.
#[test]
fn a_kill_that_only_the_log_knows_is_not_this_flannels() {
    finds_nothing(|it| it.flannel.last_kill = kill("flanneld"));
    finds_nothing(|it| {
        it.flannel.memory = memory(40, 0);
        it.flannel.last_kill = kill("flanneld");
    });
}

#[test]
fn who_does_not_see_the_nodes_processes_does_not_say_that_flannel_is_gone() {
    finds_nothing(|it| {
        stop_it(it);
        it.flannel.process = FlannelProcess::Unknown;
    });
    for process in [FlannelProcess::K3s, FlannelProcess::Rke2] {
        finds_nothing(|it| it.flannel.process = process);
    }
}

#[test]
fn what_is_left_of_a_flannel_that_was_replaced_is_not_missed() {
    for pass in PASSES {
        let plan = Plan { pods: 0, ..Plan::of(3, pass) };
        assert_eq!(told(&with(&plan, stop_it)), [""; 0], "no pods: {pass:?}");
    }
    // Another CNI with a VXLAN device of this kind.
    let foreign = Plan { overlay: "vx0".to_owned(), ..Plan::of(3, Pass::Tables) };
    let diagnosis = with(&foreign, |evidence| {
        stop_it(evidence);
        evidence.intent.flannel_netfilter.clear();
    });
    assert_eq!(told(&diagnosis), [""; 0]);
}

#[test]
fn a_missing_entry_and_a_missing_flannel_are_two_findings() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let diagnosis = with(&plan, |evidence| {
        stop_it(evidence);
        evidence.flannel.last_kill = kill("flanneld");
        tables(evidence).routes.retain(|route| route.destination != plan.hit_cidr());
    });
    let expected =
        [format!("pod-route-missing {}", plan.hit_cidr()), "flanneld-not-running n1".into()];
    assert_eq!(told(&diagnosis), expected);
    let line = "the kernel's log: a flanneld (of this or another container) was killed for want of memory at 2026-01-01T11:30:00Z";
    assert_eq!(diagnosis.findings[1].evidence.last().unwrap(), line);
}
