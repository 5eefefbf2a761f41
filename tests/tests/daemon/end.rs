//! How a daemon starts, ends, and is refused.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tracer_tests::{
    attached::Attached,
    lab::Lab,
    matrix::Attach,
    netns, process, size,
    tracer::{Intent, binary, tracer_command},
};

use super::lab;

/// The drain's own deadline and a little.
const SOON: Duration = Duration::from_secs(4);

/// BPF 39, NET_ADMIN 12, PERFMON 38 (include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 39 | 1 << 12 | 1 << 38;

#[test]
fn a_signal_ends_it_with_0_and_nothing_stays_attached() {
    let lab = lab(431, 2);
    let attached = || Attached::on(lab.plan(), &lab.plan().nodes[0]).unwrap();
    let before = attached();
    for mode in Attach::on_this_kernel().iter().map(|attach| attach.name()) {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = lab.daemon(0, Intent::SubnetEnv, &["--attach", mode]).unwrap();
            assert_ne!(attached(), before, "{mode}");
            let ended = daemon.end_by(signal).unwrap();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
            assert!(ended.took < size::patience(SOON), "{:?}", ended.took);
            assert!(ended.said.contains("detached from 6 hooks"), "{}", ended.said);
            assert_eq!(attached(), before, "{mode}, {signal}");
            println!("{mode}, {signal}: ended after {:?}", ended.took);
        }
    }
}

#[test]
fn it_keeps_the_privileges_that_it_needs_and_no_others() {
    let lab = lab(432, 2);
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid().unwrap())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for field in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            let set = u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap();
            assert_eq!(set & !KEPT, 0, "{field}: {set:x}");
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
}

#[test]
fn who_cannot_start_says_why() {
    let lab = lab(433, 2);
    let node = &lab.plan().nodes[0];
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let (status, said) = run(&lab, tracer_command(node).unwrap().arg("run"));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("127.0.0.1:19469") && said.contains("--listen"), "{said}");

    let mut command = netns::command_in(&node.namespace, "setpriv");
    command.args(["--inh-caps=-all", "--bounding-set=-bpf,-net_admin,-sys_admin"]);
    command.arg(binary().unwrap()).args(["run", "--listen", "127.0.0.1:0"]);
    let (status, said) = run(&lab, &mut command);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("does not let this process load eBPF programs"), "{said}");

    for (wrong, part) in [
        (["--listen", "everywhere"].as_slice(), "everywhere"),
        (&["--overlay", "nope0"], "nope0"),
        (&["--peers", "/nonexistent"], "/nonexistent"),
        (&["--config", "/etc/x.toml"], "not built"),
        (&["--ignore", "no-such-code"], "no-such-code"),
        (&["--duration", "5s"], "--duration"),
    ] {
        let mut command = tracer_command(node).unwrap();
        command.arg("run").args(wrong);
        if !wrong.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let (status, said) = run(&lab, &mut command);
        assert_eq!(status, Some(3), "{wrong:?}: {said}");
        assert!(said.contains(part), "{wrong:?}: {said}");
    }
    assert_eq!(daemon.get("/readyz", "*/*").unwrap().status, 200, "nobody disturbed it");
}

/// Exit status and stderr of a run that ends by itself.
fn run(lab: &Lab, command: &mut Command) -> (Option<i32>, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = process::run(&lab.plan().nodes[0].namespace, command).unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
