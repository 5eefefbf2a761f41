//! Devices that go, come back and are renamed.

use std::time::Duration;

use serde_json::Value;
use tracer_tests::{
    attached::Attached,
    daemon::{Daemon, Metrics},
    fault::named,
    flannel,
    lab::Lab,
    matrix::Attach,
    plan::Site,
    poll::poll_until,
    script::{Script, run_all},
    tracer::Intent,
};

use super::{OPENS, lab, send, wait_until_all_is_well, warnings};

/// How soon a device that has come is attached to.
pub(super) const ATTACHED: Duration = Duration::from_secs(1);
/// Both sides of bridge, overlay device and uplink.
pub(super) const HOOKS: usize = 6;
const DATAGRAMS: u64 = 300;

pub(super) fn hooks(lab: &Lab) -> usize {
    let attached = Attached::on(lab.plan(), &lab.plan().nodes[0]).unwrap();
    attached.our_filters() + attached.tcx.len()
}

fn wire_out(metrics: &Metrics) -> f64 {
    metrics.value("stage_packets_total{stage=\"wire_out\"}").unwrap()
}

/// What is sent now is counted, and no counter has fallen since `before`.
pub(super) fn assert_counts_go_on(lab: &Lab, daemon: &Daemon, before: &Metrics) -> Metrics {
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

#[test]
fn a_recreated_device_is_attached_to_again_within_a_second_and_no_counter_falls() {
    for (seed, attach) in [421, 422].into_iter().zip(Attach::on_this_kernel()) {
        recreate(seed, attach.name());
    }
}

fn recreate(seed: u64, mode: &str) {
    let lab = lab(seed, 2);
    let site = Site { victim: 0, peer: 1, ..lab.plan().site };
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
    assert!(warnings(&daemon.said()).is_empty(), "{}", daemon.said());
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
    assert_eq!(daemon.events_of("finding-opened"), Vec::<Value>::new());
}

#[test]
fn a_new_address_of_the_node_has_the_programs_loaded_anew_and_no_counter_falls() {
    let lab = lab(424, 2);
    let node = &lab.plan().nodes[0];
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let before = assert_counts_go_on(&lab, &daemon, &daemon.scrape().unwrap());
    let address = format!("addr add 198.51.100.9/32 dev {}", node.uplink);
    Script::ip(&node.namespace, [address]).run().unwrap();
    poll_until("the programs to be loaded anew", OPENS, || {
        anyhow::ensure!(daemon.said().contains("loading the programs anew"), "{}", daemon.said());
        Ok(())
    })
    .unwrap();
    assert_counts_go_on(&lab, &daemon, &before);
    assert_eq!(hooks(&lab), HOOKS);
    assert_eq!(daemon.events_of("finding-opened"), Vec::<Value>::new());
}

#[test]
fn a_peer_that_joins_is_counted_from_then_on() {
    let lab = lab(425, 3);
    let plan = lab.plan();
    let [node, peer] = [0, 1].map(|node| &plan.nodes[node]);
    run_all(&flannel::forget(plan, node, peer)).unwrap();
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let of_peer = format!("peer_packets_total{{peer=\"{}\",stage=\"wire_out\"}}", peer.subnet.v4);
    assert_eq!(daemon.scrape().unwrap().get(&of_peer), None);
    run_all(&flannel::learn(plan, node, peer)).unwrap();
    let before = poll_until("the peer to have a slot", OPENS, || {
        let metrics = daemon.scrape()?;
        metrics.value(&of_peer)?;
        Ok(metrics)
    })
    .unwrap();
    let now = assert_counts_go_on(&lab, &daemon, &before);
    let rise = now.value(&of_peer).unwrap() - before.value(&of_peer).unwrap();
    assert_eq!(rise as u64, DATAGRAMS);
    assert!(!daemon.said().contains("loading the programs anew"), "{}", daemon.said());
}
