//! A kernel that shows no type information: what needs it is off with the reason, and the stages
//! go on. Nothing of it is hidden but from the tracer.

use std::{path::Path, process::Command};

use tracer_tests::{
    capabilities::{FEATURES, Kernel},
    expect,
    lab::{LOCK_WAIT, Lab},
    less,
    plan::Plan,
    seed::Shape,
};

use super::{Answer, KPROBES, check};

/// What the reason of each feature that reads the kernel's types says.
const PARTS: [&str; 3] =
    ["/sys/kernel/btf/vmlinux cannot be read", "CONFIG_DEBUG_INFO_BTF", "; lost: "];

fn hide(command: &mut Command) {
    less::types(command);
}

/// The state of a feature on this kernel when its types are hidden.
fn expected(kernel: Kernel, feature: &str) -> &'static str {
    match feature {
        "btf" | "module-btf" | "drops" | "drop-flows" => "off",
        // A kprobe is left, which a kernel that is locked down forbids.
        "changes" if kernel.is_confidential => "off",
        other => kernel.state(other),
    }
}

#[test]
fn without_type_information_what_needs_it_is_off_and_all_else_is_as_before() {
    let answer = Answer::get(hide);
    println!("{answer:#?}");
    let kernel = Kernel::this().unwrap();
    assert_eq!((answer.status, answer.state("stages")), (0, "on"));
    for feature in FEATURES {
        let (said, because) = (answer.state(feature), answer.because(feature));
        assert_eq!(said, expected(kernel, feature), "{feature}: {because}");
    }
    for feature in ["btf", "drops", "drop-flows"] {
        let because = answer.because(feature);
        assert!(PARTS.iter().all(|part| because.contains(part)), "{feature}: {because}");
    }
}

/// Without types a kprobe is left, with them there is a choice. Lockdown forbids the kprobe alone.
#[test]
fn fentry_is_preferred_to_a_kprobe_where_both_work() {
    if !Path::new(KPROBES).exists() {
        return;
    }
    let (best, other) = (Answer::get(|_| ()), Answer::get(hide));
    let best = best.because("changes");
    assert!(best.starts_with("fentry on rtnetlink_rcv_msg"), "{best}");
    if !Kernel::this().unwrap().is_confidential {
        let other = other.because("changes");
        assert!(other.starts_with("kprobe on rtnetlink_rcv_msg"), "{other}");
    }
}

#[test]
fn without_type_information_packets_are_observed_all_the_same() {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    let lab = Lab::up(Plan::draw(132, &shape), LOCK_WAIT).unwrap();
    let _traffic = lab.traffic_all_pairs();
    let answer = check(&lab.plan().nodes[0], "3s", hide);
    expect::observed(&answer).unwrap();
    expect::no_finding(&answer).unwrap();
    expect::peers_are_ok(lab.plan(), &lab.plan().others(0), &answer).unwrap();
    let capabilities = answer.json["capabilities"].as_array().unwrap();
    let btf = capabilities.iter().find(|it| it["feature"] == "btf").unwrap();
    assert_eq!(btf["state"], "off", "{btf}");
}
