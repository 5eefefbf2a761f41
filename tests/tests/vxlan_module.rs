//! A kernel that has no VXLAN, told apart from a device that is gone. The kernel is every node's: in
//! a guest of QEMU the module is taken away, on any other machine recorded evidence says so.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{fs, process::Command};

use serde_json::{Value, json};
use tracer_tests::{
    expect::only_finding,
    fault,
    kernel_module::{WithoutVxlan, in_guest},
    lab::{LOCK_WAIT, Lab},
    plan::Plan,
    seed::Shape,
    tracer::{CheckOutput, Intent, binary},
};

const CODE: &str = "vxlan-module-missing";

fn lab(seed: u64) -> Lab {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// The finding, and no other; the device that is gone is a part of it.
fn assert_told(answer: &CheckOutput) {
    let finding = only_finding(answer).unwrap();
    assert_eq!((&finding["code"], &finding["severity"]), (&json!(CODE), &json!("critical")));
    assert_eq!(finding["subject"]["interface"], "flannel.1");
    assert_eq!(finding["breaks"], json!(["device flannel.1"]));
    assert_eq!(answer.status, 1);
}

#[test]
fn a_kernel_without_the_vxlan_module() {
    let lab = lab(950);
    if in_guest() {
        in_a_guest(&lab);
    } else {
        by_recorded_evidence(&lab);
    }
}

/// Every node has the fault then, with every amount of intent.
fn in_a_guest(lab: &Lab) {
    let _traffic = lab.traffic_all_pairs();
    let without = WithoutVxlan::inject(lab.plan()).unwrap();
    for node in lab.plan().all_nodes() {
        for intent in Intent::ALL {
            assert_told(&lab.check(node, intent, &["--duration", "3s"]).unwrap());
        }
    }
    without.heal().unwrap();
    lab.wait_connected(&lab.plan().all_nodes()).unwrap();
}

/// This kernel has VXLAN, so a device that is gone is just that; what `check --save` wrote is then
/// changed in the one point that tells them apart.
fn by_recorded_evidence(lab: &Lab) {
    let missing = fault::named("flannel-link-missing").unwrap();
    let _injection = lab.inject(&missing, lab.plan().site).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evidence.json");
    for intent in Intent::ALL {
        let extra = ["--duration", "0", "--save", file.to_str().unwrap()];
        let answer = lab.check(lab.plan().site.victim, intent, &extra).unwrap();
        assert_eq!(answer.findings(), [("flannel-link-missing", "flannel.1")]);
        let mut evidence: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(evidence["node"]["vxlan"], "present");
        evidence["node"]["vxlan"] = json!("missing");
        fs::write(&file, evidence.to_string()).unwrap();
        let output = Command::new(binary().unwrap())
            .args(["check", "--format", "json", "--from"])
            .arg(&file)
            .output()
            .unwrap();
        assert_told(&CheckOutput::of(&output).unwrap());
    }
}
