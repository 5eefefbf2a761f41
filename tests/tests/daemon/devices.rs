//! Devices that go, come back and are renamed.

use std::time::Duration;

use tracer_tests::{
    attached::Attached,
    daemon::{Daemon, Metrics},
    fault::named,
    lab::Lab,
    poll::poll_until,
    script::Script,
    tracer::Intent,
};

use super::{lab, send, wait_until_all_is_well};

/// How soon a device that has come is attached to.
const ATTACHED: Duration = Duration::from_secs(1);
/// Both sides of bridge, overlay device and uplink.
const HOOKS: usize = 6;
const DATAGRAMS: u64 = 300;

fn hooks(lab: &Lab) -> usize {
    let attached = Attached::on(lab.plan(), &lab.plan().nodes[0]).unwrap();
    attached.our_filters() + attached.tcx.len()
}

fn wire_out(metrics: &Metrics) -> f64 {
    metrics.value("stage_packets_total{stage=\"wire_out\"}").unwrap()
}

/// What is sent now is counted, and no counter has fallen since `before`.
fn assert_counts_go_on(lab: &Lab, daemon: &Daemon, before: &Metrics) -> Metrics {
    send(lab, DATAGRAMS);
    poll_until("what was sent to be counted", Duration::from_secs(5), || {
        let now = daemon.scrape()?;
        anyhow::ensure!(
            wire_out(&now) >= wire_out(before) + DATAGRAMS as f64,
            "{}",
            wire_out(&now)
        );
        anyhow::ensure!(now.fallen_since(before).is_empty(), "{:?}", now.fallen_since(before));
        Ok(now)
    })
    .unwrap()
}

fn a_recreated_device_is_attached_to_again(seed: u64, mode: &str) {
    let lab = lab(seed, 2);
    let site = tracer_tests::plan::Site { victim: 0, peer: 1 };
    let daemon = lab.daemon(0, Intent::SubnetEnv, &["--attach", mode]).unwrap();
    assert_eq!(hooks(&lab), HOOKS, "{mode}");
    let mut before = assert_counts_go_on(&lab, &daemon, &daemon.scrape().unwrap());
    for round in 0..3 {
        let injection = lab.inject(&named("flannel-link-missing").unwrap(), site).unwrap();
        assert_eq!(hooks(&lab), HOOKS - 2, "{mode}, round {round}");
        injection.heal().unwrap();
        poll_until("the new device to be attached to", ATTACHED, || {
            anyhow::ensure!(hooks(&lab) == HOOKS, "{} hooks", hooks(&lab));
            Ok(())
        })
        .unwrap();
        before = assert_counts_go_on(&lab, &daemon, &before);
    }
    wait_until_all_is_well(&daemon);
    assert!(!daemon.said().contains("WARN"), "{}", daemon.said());
}

#[test]
fn by_tcx_a_recreated_device_is_attached_to_again_within_a_second_and_no_counter_falls() {
    a_recreated_device_is_attached_to_again(421, "tcx");
}

#[test]
fn by_clsact_a_recreated_device_is_attached_to_again_within_a_second_and_no_counter_falls() {
    a_recreated_device_is_attached_to_again(422, "clsact");
}

#[test]
fn a_renamed_bridge_goes_on_counting_under_its_new_name() {
    let lab = lab(423, 2);
    let node = &lab.plan().nodes[0];
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let before = assert_counts_go_on(&lab, &daemon, &daemon.scrape().unwrap());
    let lines = [
        format!("link set {} down", node.bridge),
        format!("link set {} name renamed0", node.bridge),
        "link set renamed0 up".to_owned(),
    ];
    Script::ip(&node.namespace, lines).run().unwrap();
    poll_until("the hook under its new name", ATTACHED, || {
        let metrics = daemon.scrape()?;
        metrics.value("hook_attached{interface=\"renamed0\",direction=\"ingress\"}")
    })
    .unwrap();
    assert_counts_go_on(&lab, &daemon, &before);
    assert_eq!(daemon.events_of("finding-opened"), Vec::<serde_json::Value>::new());
}
