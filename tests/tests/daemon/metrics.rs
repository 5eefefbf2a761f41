//! What a scraper is told.

use std::{io::ErrorKind, net::TcpStream, time::Duration};

use tracer::evidence::{Evidence, Stage};
use tracer_common::sight::POD_SIGHTS;
use tracer_tests::{daemon::Metrics, lab::Lab, netns, poll::poll_until, tracer::Intent};

use super::{lab, send};

const DATAGRAMS: u64 = 2_000;
/// How long the last packet may take to be counted.
const ARRIVAL: Duration = Duration::from_secs(5);
/// Ports that a pod tries: more than three quarters of the sights that there is room for.
const SCANNED: u16 = 1_600;
const HELD_SIGHTS: &str = "map_entries{map=\"sightings\"}";
const REFUSED_SIGHTS: &str = "map_insert_failures_total{map=\"sightings\"}";

fn stage(metrics: &Metrics, unit: &str, stage: &str) -> u64 {
    metrics.value(&format!("stage_{unit}_total{{stage=\"{stage}\"}}")).unwrap() as u64
}

#[test]
fn counters_rise_with_traffic_and_are_those_of_a_check_beside_it() {
    let lab = lab(401, 2);
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    // An idle lab: what both count from here on is what is sent here.
    let check = lab.watch(0, Intent::SubnetEnv, &[]).unwrap();
    let before = daemon.scrape().unwrap();
    send(&lab, DATAGRAMS);
    let sent = poll_until("all datagrams to be counted", ARRIVAL, || {
        let now = daemon.scrape()?;
        let rise = stage(&now, "packets", "wire_out") - stage(&before, "packets", "wire_out");
        anyhow::ensure!(rise >= DATAGRAMS, "{rise}");
        Ok(now)
    })
    .unwrap();
    let checked: Evidence = serde_json::from_value(check.end().unwrap().evidence).unwrap();
    let traffic = checked.traffic.unwrap();
    for which in Stage::ALL {
        let counted = traffic.stages.at(which);
        let rise = |unit| stage(&sent, unit, which.name()) - stage(&before, unit, which.name());
        let ours = (rise("packets"), rise("bytes"));
        assert_eq!(ours, (counted.packets, counted.bytes), "{}", which.name());
    }
    assert_eq!(traffic.stages.wire_out.packets, DATAGRAMS);
    let peer = &lab.plan().nodes[1];
    let of_peer = format!("peer_packets_total{{peer=\"{}\",stage=\"wire_out\"}}", peer.subnet.v4);
    let rise = sent.value(&of_peer).unwrap() - before.value(&of_peer).unwrap();
    assert_eq!(rise as u64, DATAGRAMS);
    assert!(sent.fallen_since(&before).is_empty());
}

/// A connection to each of so many closed ports, from a pod of the first node to one of the second:
/// each is refused, and that is a sight of its own.
fn scan(lab: &Lab, first_port: u16, ports: u16) {
    let [from, to] = [0, 1].map(|node| lab.plan().nodes[node].first_pod().unwrap());
    netns::run_in(&from.namespace, || {
        for port in first_port..first_port + ports {
            let to = to.at(lab.plan().site.family, port);
            let refused = TcpStream::connect_timeout(&to, ARRIVAL).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{port}");
        }
        Ok(())
    })
    .unwrap();
}

/// A pod that is scanned again and again would fill the table of sights for good.
#[test]
fn what_is_seen_no_more_makes_room_for_what_is_new() {
    let lab = lab(404, 2);
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let refused = || daemon.scrape().unwrap().value(REFUSED_SIGHTS).unwrap();
    scan(&lab, 20_000, SCANNED);
    // One window sees that the table is nearly full, and the next who was idle since.
    poll_until("idle sights to go", super::OPENS, || {
        let held = daemon.scrape()?.value(HELD_SIGHTS)?;
        anyhow::ensure!(held < f64::from(SCANNED) / 2.0, "{held} are held");
        Ok(())
    })
    .unwrap();
    scan(&lab, 30_000, SCANNED);
    assert_eq!(refused(), 0.0);
    // It counts what it cannot hold.
    scan(&lab, 40_000, 2 * POD_SIGHTS as u16);
    assert!(refused() > 0.0);
}

#[test]
fn a_scrape_is_complete_and_in_form() {
    let lab = lab(402, 2);
    let (plan, node) = (lab.plan(), &lab.plan().nodes[0]);
    let daemon = lab.daemon(0, Intent::PeersFile, &[]).unwrap();
    assert_eq!(daemon.get("/healthz", "*/*").unwrap().status, 200);
    assert_eq!(daemon.get("/nothing", "*/*").unwrap().status, 404);
    let older = daemon.get("/metrics", "*/*").unwrap();
    assert_eq!(older.content_type, "text/plain; version=0.0.4; charset=utf-8");
    let newer = daemon.get("/metrics", "application/openmetrics-text;version=1.0.0").unwrap();
    assert!(newer.content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(newer.body.ends_with("# EOF\n"));

    // Peers and devices are told from the end of the first window on.
    let up = format!(
        "interface_up{{role=\"overlay\",interface=\"{}\"}}",
        plan.overlay(plan.site.family)
    );
    let metrics = poll_until("the first window", super::OPENS, || {
        let metrics = daemon.scrape()?;
        metrics.value(&up)?;
        Ok(metrics)
    })
    .unwrap();
    assert_eq!(metrics.value(&up).unwrap(), 1.0);
    for device in [&plan.overlay(plan.site.family), &node.bridge, &node.uplink] {
        for direction in ["ingress", "egress"] {
            let hook = format!("hook_attached{{interface=\"{device}\",direction=\"{direction}\"}}");
            assert_eq!(metrics.value(&hook).unwrap(), 1.0);
        }
    }
    let peer = &plan.nodes[1];
    let info = format!("peer_info{{peer=\"{}\",node=\"", peer.subnet.v4);
    assert!(metrics.beginning(&info).any(|(name, _)| name.contains(&peer.ip.v4.to_string())));
    assert!(metrics.beginning("node_info{").any(|(name, _)| name.contains(&node.name)));
    assert_eq!(metrics.value("capability{feature=\"stages\",state=\"on\"}").unwrap(), 1.0);
    assert_eq!(metrics.value("flannel_up").unwrap(), 1.0);
    for name in
        ["flow_evictions_total", "netlink_overruns_total", "leaked_packets_total{cidr=\"other\"}"]
    {
        assert_eq!(metrics.value(name).unwrap(), 0.0, "{name}");
    }
}
