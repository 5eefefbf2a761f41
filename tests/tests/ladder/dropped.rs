//! A capability that is dropped changes the lines of what it is for, and no others.

use std::{fs, process::Command, time::Duration};

use anyhow::ensure;
use tracer_tests::{
    kernel,
    less::{self, Capability},
    poll::poll_until,
};

use super::Answer;

/// What a program may lock by default on kernels that count maps as locked memory, bytes.
const SMALL: u64 = 64 << 10;
/// More than all maps together, bytes.
const LARGE: u64 = 256 << 20;
/// How long the kernel may take to free the maps of the run before, which count as locked until
/// then.
const RELEASE: Duration = Duration::from_secs(20);

fn with(kept: &[Capability], memory: (u64, u64)) -> Answer {
    Answer::get(|command: &mut Command| {
        less::memory(command, memory.0, memory.1);
        less::capabilities(command, kept);
    })
}

fn all_but(dropped: Capability) -> Vec<Capability> {
    Capability::ALL.into_iter().filter(|capability| *capability != dropped).collect()
}

/// Whether maps count as locked memory: before Linux 5.11.
fn maps_are_charged() -> bool {
    kernel::is_before((5, 11))
}

/// Whether SYSLOG decides who sees the addresses of symbols (kernel/kallsyms.c,
/// `kallsyms_show_value`, 5.10).
fn syslog_decides() -> bool {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let for_everybody = number("kptr_restrict") == 0 && number("perf_event_paranoid") <= 1;
    number("kptr_restrict") < 2 && !for_everybody
}

/// The lines that change without a capability, in the order of the answer.
fn expected(dropped: Capability) -> Vec<&'static str> {
    match dropped {
        Capability::Bpf => {
            vec![
                "stages",
                "tcx",
                "clsact",
                "ring-buffer",
                "drops",
                "drop-flows",
                "changes",
                "privileges",
            ]
        }
        Capability::NetAdmin => vec!["stages", "tcx", "clsact", "privileges"],
        // Then the verifier refuses the stages too (kernel/bpf/verifier.c, until 6.16).
        Capability::Perfmon if kernel::is_before((6, 17)) => {
            vec!["stages", "tcx", "clsact", "drops", "drop-flows", "changes", "privileges"]
        }
        Capability::Perfmon => vec!["drops", "drop-flows", "changes", "privileges"],
        Capability::Syslog if syslog_decides() => vec!["drops", "symbols", "privileges"],
        Capability::Syslog => vec!["privileges"],
        Capability::SysPtrace => vec!["processes", "privileges"],
        Capability::SysResource if maps_are_charged() => {
            vec!["stages", "tcx", "clsact", "memory", "drops", "drop-flows", "privileges"]
        }
        Capability::SysResource => vec![],
    }
}

#[test]
fn a_dropped_capability_changes_exactly_its_lines() {
    let full = with(&Capability::ALL, (SMALL, SMALL));
    assert_eq!((full.status, full.state("stages"), full.state("privileges")), (0, "on", "on"));
    for dropped in Capability::ALL {
        poll_until(&format!("the lines without {dropped:?}"), RELEASE, || {
            let less = with(&all_but(dropped), (SMALL, SMALL));
            let changed: Vec<&str> = full
                .lines
                .iter()
                .zip(&less.lines)
                .filter(|(full, less)| full != less)
                .map(|(full, _)| full[0].as_str())
                .collect();
            ensure!(changed == expected(dropped), "{changed:?} changed: {less:#?}");
            let status = if less.state("stages") == "on" { 0 } else { 2 };
            ensure!(less.status == status, "exit {} with {less:#?}", less.status);
            for feature in changed {
                ensure!(less.state(feature) != "on", "{feature} is still on: {less:#?}");
            }
            Ok(())
        })
        .unwrap();
        println!("without {dropped:?}: {:?}", expected(dropped));
    }
}

/// The reason is the privilege, and not the words in which the verifier asks for it.
#[test]
fn a_verifier_that_asks_for_perfmon_is_told_as_such() {
    let less = with(&all_but(Capability::Perfmon), (SMALL, SMALL));
    let asks = less.because("stages").contains("needs CAP_PERFMON before Linux 6.17");
    assert_eq!(asks, kernel::is_before((6, 17)), "{less:#?}");
}

#[test]
fn too_little_memory_to_lock_is_told_as_such_where_it_counts() {
    let kept = all_but(Capability::SysResource);
    let small = with(&kept, (SMALL, SMALL));
    if !maps_are_charged() {
        assert_eq!((small.status, small.state("stages")), (0, "on"));
        assert!(small.because("memory").contains("since Linux 5.11"), "{small:#?}");
        return;
    }
    assert_eq!((small.status, small.state("stages"), small.state("memory")), (2, "off", "off"));
    for feature in ["stages", "memory"] {
        for part in ["RLIMIT_MEMLOCK", "64 KiB", "ulimit -l unlimited"] {
            assert!(small.because(feature).contains(part), "{feature}: {small:#?}");
        }
    }
    poll_until("the maps of a process that may raise its limit itself", RELEASE, || {
        let raised = with(&kept, (SMALL, LARGE));
        ensure!((raised.status, raised.state("stages")) == (0, "on"), "{raised:#?}");
        Ok(())
    })
    .unwrap();
}
