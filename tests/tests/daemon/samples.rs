//! `--sample`: one packet in so many of each stage, the first of what is rare, and what is lost.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tracer_tests::{
    daemon::{Daemon, Metrics},
    fault::named,
    lab::Lab,
    netns,
    plan::{DNS_NAME, SYSLOG_PORT, Site},
    poll::poll_until,
    size,
    tracer::Intent,
    traffic::{Flow, Limits, Stop},
};

use super::{lab, send};

/// One in so many.
const EVERY: u64 = 100;
/// More than the lab can send.
const RATE: f64 = 1_000_000.0;
/// How far samples may be from one in so many.
const TOLERANCE: f64 = 0.05;
/// How long the last packet may take to be counted, and the last sample to be told.
const ARRIVAL: Duration = Duration::from_secs(10);
/// More than the ring buffer holds of three stages.
const TOO_MANY: u64 = 20_000;
/// As many of an anomaly are sampled.
const FIRST: u64 = 4;
/// Stages of who sends, and of who receives.
const OUT: [&str; 3] = ["pod_out", "overlay_out", "wire_out"];
const IN: [&str; 3] = ["wire_in", "overlay_in", "pod_in"];

fn daemon(lab: &Lab, node: usize, every: u64) -> Daemon {
    lab.daemon(node, Intent::SubnetEnv, &["--sample", &every.to_string()]).unwrap()
}

/// Sends as fast as can be from a pod of the first node to one of the second.
fn flood(lab: &Lab, datagrams: u64) {
    let [from, to] = [0, 1].map(|node| lab.plan().nodes[node].first_pod().unwrap());
    let flow = Flow::UdpOneWay { to: to.at(lab.plan().site.family, SYSLOG_PORT), size: 120 };
    let limits = Limits::exactly(datagrams, RATE);
    netns::run_in(&from.namespace, || flow.generate(limits, &Stop::default())).unwrap();
}

fn of_stage(metrics: &Metrics, name: &str, stage: &str) -> f64 {
    metrics.value(&format!("{name}_total{{stage=\"{stage}\"}}")).unwrap()
}

fn sum(metrics: &Metrics, name: &str) -> f64 {
    metrics.beginning(&format!("{name}_total{{")).map(|(_, value)| value).sum()
}

fn lost(metrics: &Metrics) -> f64 {
    metrics.value("events_lost_total{source=\"samples\"}").unwrap()
}

/// How many samples the events stand for.
fn told(events: &[Value]) -> u64 {
    events.iter().map(|event| event["count"].as_u64().unwrap()).sum()
}

#[test]
fn one_packet_in_so_many_is_sampled_at_every_stage_and_totals_stay_exact() {
    let packets = size::of(1_000_000, 20_000);
    let lab = lab(481, 2);
    let daemons = [daemon(&lab, 0, EVERY), daemon(&lab, 1, EVERY)];
    let before = daemons.each_ref().map(|it| it.scrape().unwrap());
    flood(&lab, packets);
    for (number, stages) in [OUT, IN].into_iter().enumerate() {
        let (daemon, before) = (&daemons[number], &before[number]);
        let rise = |now: &Metrics, name: &str, stage: &str| {
            of_stage(now, name, stage) - of_stage(before, name, stage)
        };
        let now = poll_until("all packets to be counted", ARRIVAL, || {
            let now = daemon.scrape()?;
            let counted = rise(&now, "stage_packets", stages[0]);
            // What arrives is what the network did not lose.
            anyhow::ensure!(number == 1 || counted >= packets as f64, "{counted}");
            Ok(now)
        })
        .unwrap();
        for stage in stages {
            let counted = rise(&now, "stage_packets", stage);
            let sampled = rise(&now, "samples", stage);
            println!("{stage}: {counted} packets, {sampled} sampled, {} lost", lost(&now));
            assert!(number == 1 || counted == packets as f64, "{stage}: {counted}");
            let off = (sampled * EVERY as f64 / counted - 1.0).abs();
            assert!(off < TOLERANCE, "{stage}: {sampled} of {counted}");
        }
        assert_all_are_told(daemon);
    }
    assert_are_samples(&lab, &daemons[0].events_of("sample"));
}

/// What was taken was told, or is counted as lost.
fn assert_all_are_told(daemon: &Daemon) {
    poll_until("all samples to be told", ARRIVAL, || {
        let now = daemon.scrape()?;
        let taken = sum(&now, "samples") + sum(&now, "anomaly_samples");
        let told = told(&daemon.events_of("sample")) as f64;
        anyhow::ensure!(told + lost(&now) == taken, "{told} and {} of {taken}", lost(&now));
        Ok(())
    })
    .unwrap();
}

/// Each that is told by itself has its headers; at the uplink those of the tunnel too.
fn assert_are_samples(lab: &Lab, events: &[Value]) {
    let plan = lab.plan();
    let family = plan.site.family;
    let address =
        |node: usize| plan.nodes[node].first_pod().unwrap().at(family, 0).ip().to_string();
    let mut seen = Vec::new();
    for event in events {
        let sample = &event["sample"];
        let packet = &sample["packet"];
        if packet.is_null() || packet["inner"]["destination_port"] != SYSLOG_PORT {
            continue;
        }
        assert_eq!((&sample["anomaly"], &event["count"]), (&Value::Null, &1.into()), "{event}");
        let inner = &packet["inner"];
        assert_eq!(inner["source"], address(0), "{event}");
        assert_eq!(inner["destination"], address(1), "{event}");
        assert_eq!(
            (&inner["protocol"], packet["length"].as_u64() > Some(120)),
            (&"udp".into(), true)
        );
        let stage = sample["stage"].as_str().unwrap();
        let node_ips = [0, 1].map(|node| plan.nodes[node].ip.of(family).to_string());
        if stage == "wire_out" {
            let outer = &packet["outer"];
            assert_eq!(outer["source"], node_ips[0], "{event}");
            assert_eq!(outer["destination"], node_ips[1], "{event}");
            assert_eq!(sample["interface"], plan.nodes[0].uplink, "{event}");
        } else {
            assert_eq!(packet["outer"], Value::Null, "{event}");
        }
        if !seen.contains(&stage) {
            seen.push(stage);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["overlay_out", "pod_out", "wire_out"]);
}

#[test]
fn what_finds_no_room_in_the_buffer_is_counted() {
    let lab = lab(482, 2);
    let daemon = daemon(&lab, 0, 1);
    assert_eq!(lost(&daemon.scrape().unwrap()), 0.0);
    // Nobody reads while the buffer fills.
    daemon.signal(Signal::SIGSTOP).unwrap();
    flood(&lab, TOO_MANY);
    daemon.signal(Signal::SIGCONT).unwrap();
    assert_all_are_told(&daemon);
    let now = daemon.scrape().unwrap();
    let taken: f64 = OUT.map(|stage| of_stage(&now, "samples", stage)).iter().sum();
    println!("{taken} taken, {} lost", lost(&now));
    assert!(taken >= 3.0 * TOO_MANY as f64 && lost(&now) > 0.0 && lost(&now) < taken, "{taken}");
    let is_told = |event: &Value| event["source"] == "samples";
    poll_until("the loss to be told", ARRIVAL, || {
        anyhow::ensure!(daemon.events_of("lost").iter().any(is_told), "not yet");
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_first_of_an_anomaly_are_sampled_and_no_more() {
    // Of two nodes none is the odd one.
    let lab = lab(483, 3);
    let site = Site { victim: 0, peer: 1, ..lab.plan().site };
    let daemon = daemon(&lab, 1, 1_000_000);
    let injection = lab.inject(&named("vni-mismatch").unwrap(), site).unwrap();
    send(&lab, 1_000);
    let of_vni = || {
        let events = daemon.events_of("sample").into_iter();
        events.filter(|event| event["sample"]["anomaly"] == "other-vni").collect::<Vec<_>>()
    };
    poll_until("the anomaly to be sampled", ARRIVAL, || {
        let events = of_vni();
        anyhow::ensure!(told(&events) >= FIRST, "{events:#?}");
        Ok(())
    })
    .unwrap();
    assert_all_are_told(&daemon);
    let events = of_vni();
    assert_eq!(told(&events), FIRST, "{events:#?}");
    let packet = &events[0]["sample"]["packet"];
    assert!(packet["outer"]["vni"].is_u64() && packet["inner"]["source"].is_string(), "{packet}");
    injection.heal().unwrap();
}

#[test]
fn without_the_option_nothing_is_sampled() {
    let lab = lab(484, 2);
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    send(&lab, 1_000);
    let now = daemon.scrape().unwrap();
    assert_eq!((sum(&now, "samples"), sum(&now, "anomaly_samples"), lost(&now)), (0.0, 0.0, 0.0));
    assert_eq!(daemon.events_of("sample").len(), 0);
}

/// At the bridge the name is among the bytes that are taken. In the tunnel it is not.
#[test]
fn names_of_dns_are_told_where_they_are_asked_for() {
    /// So few that each sample is told by itself.
    const QUERIES: u64 = 10;
    let lab = lab(485, 2);
    let server = lab.plan().dns.node;
    let options = ["--sample", "1", "--dns-names"];
    let daemons = [(1 - server, &options[..]), (server, &options[..2])]
        .map(|(node, options)| lab.daemon(node, Intent::SubnetEnv, options).unwrap());
    let client = lab.plan().nodes[1 - server].first_pod().unwrap();
    let to = lab.plan().dns_server(lab.plan().site.family);
    let flow = Flow::Dns { server: to, name: DNS_NAME.to_owned() };
    let limits = Limits::exactly(QUERIES, 5.0);
    netns::run_in(&client.namespace, || flow.generate(limits, &Stop::default())).unwrap();
    daemons.iter().for_each(assert_all_are_told);
    let events = daemons[0].events_of("sample");
    let messages = |stage: &str, code: Option<&str>| {
        let of_stage = events.iter().filter(|event| event["sample"]["stage"] == stage);
        let dns = of_stage.map(|event| &event["sample"]["packet"]["dns"]);
        let is_it = |dns: &&Value| dns["identifier"].is_u64() && dns["rcode"].as_str() == code;
        dns.filter(is_it).map(|dns| dns["name"].clone()).collect::<Vec<_>>()
    };
    let names = vec![Value::from(DNS_NAME); QUERIES as usize];
    assert_eq!(messages("pod_out", None), names, "{events:#?}");
    assert_eq!(messages("pod_in", Some("NOERROR")), names, "{events:#?}");
    assert_eq!(messages("wire_out", None), vec![Value::Null; QUERIES as usize], "{events:#?}");
    let unasked = daemons[1].events_of("sample");
    assert!(!unasked.is_empty());
    for event in unasked {
        let packet = &event["sample"]["packet"];
        assert!(packet.is_object() && packet["dns"].is_null(), "{event:#}");
    }
}
