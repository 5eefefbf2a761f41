//! Thousands of peers: neighbours, FDB entries and routes of the overlay device, and a fault
//! among them.

use std::time::{Duration, Instant};

use serde_json::Value;
use tracer_tests::{
    fault::named,
    lab::Lab,
    plan::{Family, Mac, Plan, Site},
    poll::poll_until,
    script::{Script, run_all},
    size,
    tracer::Intent,
};

use super::{OPENS, lab, told, wait_until_all_is_well};

/// Peers beside those of the lab. The kernel's limit for neighbours (gc_thresh3, 1,024 by default)
/// leaves out permanent entries, as flannel's are (net/core/neighbour.c, neigh_alloc; since 5.0).
const PEERS: usize = 5_000;
/// How long a check looks.
const WINDOW: Duration = Duration::from_secs(2);
/// How much longer it may take, on a busy machine: it asks the kernel for two routes to each peer,
/// before the window and after it.
const OVERHEAD: Duration = Duration::from_secs(3);

/// What flanneld writes for peers that nobody talks to.
fn crowd(plan: &Plan) -> Vec<Script> {
    let (node, overlay) = (&plan.nodes[0], plan.overlay(Family::V4));
    let peer = |number: usize| {
        let [high, low] = (number as u16).to_be_bytes();
        let gateway = format!("100.{}.{low}.0", 64 + high);
        (gateway, Mac([2, 0x77, 0, 0, high, low]), format!("198.18.{high}.{low}"))
    };
    let peers = || (0..PEERS).map(peer);
    vec![
        Script::ip(
            &node.namespace,
            peers().map(|(gateway, mac, _)| {
                format!("neigh add {gateway} lladdr {mac} dev {overlay} nud permanent")
            }),
        ),
        Script::bridge(
            &node.namespace,
            peers()
                .map(|(_, mac, ip)| format!("fdb add {mac} dev {overlay} dst {ip} self permanent")),
        ),
        Script::ip(
            &node.namespace,
            peers().map(|(gateway, ..)| {
                format!("route add {gateway}/24 via {gateway} dev {overlay} onlink")
            }),
        ),
    ]
}

/// Code and subject of what a check finds, which must not take much longer than it looks.
fn check(lab: &Lab) -> (i32, Vec<(String, String)>) {
    let begin = Instant::now();
    let window = format!("{}s", WINDOW.as_secs());
    let answer = lab.check(0, Intent::SubnetEnv, &["--duration", &window]).unwrap();
    let took = begin.elapsed();
    println!("a check of {window} took {took:?}");
    assert!(took < WINDOW + size::patience(OVERHEAD), "{took:?}");
    for what in ["tables", "stages"] {
        assert_eq!(answer.json["coverage"][what], true, "{}", answer.json["unseen"]);
    }
    let told = |(code, key): &(&str, &str)| ((*code).to_owned(), (*key).to_owned());
    (answer.status, answer.findings().iter().map(told).collect())
}

#[test]
fn a_fault_among_five_thousand_peers_is_found_by_a_check_in_time() {
    let lab = lab(461, 3);
    let (plan, site) = (lab.plan(), Site { victim: 0, peer: 1, family: Family::V4 });
    let _traffic = lab.traffic_all_pairs();
    run_all(&crowd(plan)).unwrap();
    assert_eq!(check(&lab), (0, vec![]));
    for name in ["fdb-entry-missing", "neigh-entry-missing"] {
        let fault = named(name).unwrap();
        let injection = lab.inject(&fault, site).unwrap();
        let expected = fault.here(plan, site);
        assert_eq!(check(&lab), (1, vec![(expected.code.to_owned(), expected.key)]));
        injection.heal().unwrap();
    }
}

#[test]
fn a_daemon_to_which_five_thousand_peers_come_finds_the_fault_among_them() {
    let lab = lab(462, 2);
    let (plan, site) = (lab.plan(), Site { victim: 0, peer: 1, family: Family::V4 });
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let before = daemon.scrape().unwrap();
    run_all(&crowd(plan)).unwrap();
    let fault = named("fdb-entry-missing").unwrap();
    let injection = lab.inject(&fault, site).unwrap();
    poll_until("the finding", 2 * OPENS, || {
        anyhow::ensure!(!told(&daemon, "finding-opened").is_empty(), "nothing opened");
        assert_eq!(daemon.get("/healthz", "*/*")?.status, 200);
        Ok(())
    })
    .unwrap();
    let expected = fault.here(plan, site);
    assert_eq!(told(&daemon, "finding-opened"), [(expected.code.to_owned(), expected.key)]);
    injection.heal().unwrap();
    wait_until_all_is_well(&daemon);
    let now = daemon.scrape().unwrap();
    assert!(now.fallen_since(&before).is_empty(), "{:?}", now.fallen_since(&before));
    let memory = |field| daemon.memory(field).unwrap() >> 20;
    println!("{PEERS} peers: {} MiB, peak {} MiB", memory("VmRSS"), memory("VmHWM"));
    let opened: Vec<Value> = daemon.events_of("finding-opened");
    assert_eq!(opened.len(), 1, "{opened:#?}");
}
