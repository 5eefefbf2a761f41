//! A kernel below the minimum: one clear message and exit status 2. The kernel itself says that it is
//! a 2.6 (UNAME26), so that the binary is the real one.

use std::process::Command;

use serde_json::Value;
use tracer_tests::{
    lab::{LOCK_WAIT, Lab},
    less,
    plan::Plan,
    seed::Shape,
};

use super::{check, tracer};

const PARTS: [&str; 2] = ["this is Linux 2.6", "needs 5.10 or newer"];

/// A daemon that went on all the same would end at this address, which is nobody's.
const NOWHERE: &str = "192.0.2.1:1";

#[test]
fn capabilities_and_the_daemon_say_one_line_on_an_old_kernel() {
    for arguments in [["capabilities", "--format", "json"], ["run", "--listen", NOWHERE]] {
        let output = tracer(&arguments, |command| {
            less::kernel(command);
        });
        let stderr = String::from_utf8(output.stderr).unwrap();
        let said = (output.status.code(), output.stdout.as_slice());
        assert_eq!(said, (Some(2), &b""[..]), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        assert!(PARTS.iter().all(|part| stderr.contains(part)), "{arguments:?}: {stderr}");
        println!("{}", stderr.trim());
    }
}

#[test]
fn on_an_old_kernel_the_tables_are_judged_and_the_packets_are_not() {
    let shape = Shape { nodes: Some(2), ..Shape::default() };
    let lab = Lab::up(Plan::draw(131, &shape), LOCK_WAIT).unwrap();
    let node = &lab.plan().nodes[0];
    let old = |command: &mut Command| {
        less::kernel(command);
    };
    let packets = check(node, "1s", old);
    assert_eq!((packets.status, packets.findings()), (2, vec![]), "{}", packets.stderr);
    assert_eq!(packets.json["coverage"]["tables"], true);
    assert_eq!(packets.json["coverage"]["stages"], false);
    let unseen = packets.json["unseen"].as_array().unwrap();
    let says = |line: &&Value| {
        let line = line.as_str().unwrap();
        line.starts_with("packets: ") && PARTS.iter().all(|part| line.contains(part))
    };
    assert_eq!(unseen.iter().filter(says).count(), 1, "{unseen:#?}");
    let tables = check(node, "0", old);
    assert_eq!((tables.status, tables.findings()), (0, vec![]), "{}", tables.stderr);
}
