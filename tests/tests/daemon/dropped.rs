//! Very many dropped flows: totals stay exact, few of them have a series, and the rest is counted
//! together.

use std::{net::SocketAddr, time::Duration};

use tracer::evidence::{Drops, Evidence};
use tracer_tests::{
    capabilities::Kernel,
    daemon::{Daemon, Metrics},
    fault::filter::Chain,
    lab::Lab,
    netns,
    plan::{Family, SYSLOG_PORT},
    poll::poll_until,
    size,
    tracer::Intent,
    traffic::{Flow, Limits, MANY_SOURCES, Stop},
};

use super::lab;

/// Packets, each of another source; the second where programs are interpreted.
const SOURCES: [u64; 2] = [1_000_000, 5_000];
const FEWER: [u64; 2] = [100_000, 5_000];
/// Datagrams a second: what a processor's backlog takes beside other work.
const RATE: f64 = 25_000.0;
/// The window in which the last packet is dropped, and the one after it.
const COUNTED: Duration = Duration::from_secs(60);
/// Flows that have a series unless more are asked for.
const SERIES: usize = 100;
/// More entries than the table of dropped flows has on any machine, a processor's stock of free ones
/// included.
const HELD: u64 = 4_096;
/// More than an idle node drops meanwhile.
const ELSE: u64 = 10;

/// What a scrape says of drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    all: u64,
    /// By the packet filter, or for no reason that the kernel gives.
    by_filter: u64,
    in_flows: u64,
    evicted: u64,
    series: usize,
}

fn dropped(metrics: &Metrics) -> Dropped {
    let sum = |name| metrics.beginning(name).map(|(_, packets)| packets as u64).sum();
    let is_by_filter = |name: &str| {
        ["NETFILTER_DROP", "none"].iter().any(|it| name.contains(&format!("reason=\"{it}\"")))
    };
    let places = metrics.beginning("drops_total").filter(|(name, _)| is_by_filter(name));
    Dropped {
        all: sum("drops_total"),
        by_filter: places.map(|(_, packets)| packets as u64).sum(),
        in_flows: sum("flow_drops_total"),
        evicted: sum("drop_flow_evictions_total"),
        series: metrics.beginning("flow_drops_total").count(),
    }
}

/// Whether the kernel shows whose the dropped packets are, as this one should.
fn shows_flows(lab: &Lab) -> bool {
    let check = lab.check(0, Intent::SubnetEnv, &["--duration", "1s"]).unwrap();
    let coverage = check.json["coverage"]["drops"].as_str().unwrap();
    assert_eq!(coverage, Kernel::this().unwrap().state("drop-flows"));
    coverage == "on"
}

/// Sends from a pod of the first node to one of the second, under addresses that the first node drops.
fn send(lab: &Lab, packets: u64) {
    let [from, to] = [0, 1].map(|node| lab.plan().nodes[node].first_pod().unwrap());
    let SocketAddr::V4(to) = to.at(Family::V4, SYSLOG_PORT) else { panic!("asked for IPv4") };
    let flow = Flow::UdpManySources { to };
    let limits = Limits::exactly(packets, RATE);
    let sent = netns::run_in(&from.namespace, || flow.generate(limits, &Stop::default())).unwrap();
    assert_eq!((sent.sent, sent.errors), (packets, 0));
}

/// Waits until the daemon has told so many more packets than `before`.
fn counted(daemon: &Daemon, before: Dropped, packets: u64) -> Dropped {
    poll_until("all drops to be counted", size::patience(COUNTED), || {
        let now = dropped(&daemon.scrape()?);
        assert_eq!(now.all, now.in_flows, "the flows' series and other are all packets");
        anyhow::ensure!(now.all >= before.all + packets, "{now:?} after {before:?}");
        Ok(now)
    })
    .unwrap()
}

/// A lab whose first node drops what comes from the many sources.
fn dropping(seed: u64) -> (Lab, tracer_tests::fault::Injection) {
    let lab = lab(seed, 2);
    let matches = format!("ip saddr {MANY_SOURCES}");
    let injection = Chain::inet("prerouting").dropping(&lab.plan().nodes[0], &matches).unwrap();
    (lab, injection)
}

#[test]
fn a_million_dropped_packets_of_as_many_sources_are_counted_exactly() {
    let packets = size::of(SOURCES[0], SOURCES[1]);
    let (lab, _injection) = dropping(463);
    let shows_flows = shows_flows(&lab);
    let daemon = lab.daemon(0, Intent::SubnetEnv, &[]).unwrap();
    let check = lab.watch(0, Intent::SubnetEnv, &[]).unwrap();
    let before = dropped(&daemon.scrape().unwrap());
    send(&lab, packets);
    let now = counted(&daemon, before, packets);
    println!("{now:?} after {before:?}");
    assert_all_counted(now, before, packets);
    assert!(now.series <= SERIES + 1, "{now:?}");
    let checked: Evidence = serde_json::from_value(check.end().unwrap().evidence).unwrap();
    let drops = checked.drops.unwrap();
    assert_accounted_for(&drops, packets);
    if shows_flows {
        assert!(now.evicted - before.evicted >= packets.saturating_sub(HELD), "{now:?}");
        assert!(drops.flow_evictions >= packets.saturating_sub(HELD), "{}", drops.flow_evictions);
    }
}

/// Every packet once: by the packet filter, or before it by a processor's full backlog.
fn assert_all_counted(now: Dropped, before: Dropped, packets: u64) {
    assert!((packets..packets + ELSE).contains(&(now.all - before.all)), "{now:?}");
    assert!(now.by_filter - before.by_filter > packets / 10 * 9, "{now:?}");
}

/// Each flow had one packet at a place.
fn assert_accounted_for(drops: &Drops, packets: u64) {
    assert_eq!(drops.missed, 0);
    assert!((packets..packets + ELSE).contains(&drops.packets), "{}", drops.packets);
    let flows = drops.entries.iter().filter(|it| it.flow.is_some());
    let in_flows: u64 = flows.map(|it| it.packets).sum();
    assert_eq!(in_flows + drops.left_out + drops.other, drops.packets);
}

#[test]
fn very_many_dropped_flows_have_few_series_and_one_for_the_rest() {
    let packets = size::of(FEWER[0], FEWER[1]);
    let (lab, _injection) = dropping(464);
    let shows_flows = shows_flows(&lab);
    let daemon = lab.daemon(0, Intent::SubnetEnv, &["--top-flows", "7"]).unwrap();
    let before = dropped(&daemon.scrape().unwrap());
    send(&lab, packets);
    let now = counted(&daemon, before, packets);
    println!("{now:?} after {before:?}");
    assert_all_counted(now, before, packets);
    let series = if shows_flows { 7 + 1 } else { 1 };
    assert_eq!(now.series, series, "{now:?}");
}
