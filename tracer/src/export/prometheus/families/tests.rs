use std::cell::RefCell;

use tracer_common::{
    dns::{DnsSlot, Ledger, Message},
    stage::{OVERLAY_OUT, POD_IN, POD_OUT, WIRE_OUT},
};

use super::*;
use crate::{
    diagnose::{
        diagnose,
        testing::{Pass, Plan, dropped_to},
    },
    evidence::{Drops, FlannelMemory},
    export::prometheus::{Exposition, render},
};

/// A node with two peers, one of them broken.
pub(in super::super) fn snapshot() -> Snapshot {
    let mut evidence = Plan::of(3, Pass::PeersFile).evidence();
    evidence.tables.as_mut().unwrap().fdb.pop();
    let diagnosis = diagnose(&evidence);
    let mut sums = Sums { common: vec![SlotReading::default(); 3], ..Sums::default() };
    for (number, peer) in diagnosis.peers.iter().enumerate() {
        let mut slot = SlotReading::default();
        slot.packets[OVERLAY_OUT] = 10 + number as u64;
        slot.packets[WIRE_OUT] = 5;
        slot.packets[LEAK] = 2;
        sums.peers.insert(peer.cidr, slot);
    }
    sums.common[0].packets[LEAK] = 7;
    Snapshot {
        node: evidence.node,
        node_ip: diagnosis.node_ip,
        pod_cidrs: diagnosis.pod_cidrs,
        sums,
        last_seen: diagnosis.peers.iter().map(|it| (it.cidr, evidence.window.start)).collect(),
        peers: diagnosis.peers,
        findings: diagnosis.findings,
        interfaces: vec![Interface { role: "overlay", name: "flannel.1".to_owned(), up: true }],
        flannel: evidence.flannel,
        capabilities: evidence.capabilities,
        hooks: evidence.hooks,
        vips: Vec::new(),
        vips_forgotten: 0,
        vips_without_room: 2,
        table_changes: BTreeMap::from([((Table::Route, Action::Deleted), 4)]),
        drops: Some(drops()),
        dns: Some(dns()),
        netlink_overruns: 1,
        events_lost: 0,
        flows: 12,
        flow_capacity: 65_536,
        slots: 5,
        slot_capacity: 64,
        sights: 3,
        sight_capacity: 3072,
        version: "0.1.0",
        commit: "abc",
    }
}

/// A server that has answered two queries, the same of servers that are told together, and four
/// queries to servers of which nothing else is known.
fn dns() -> BTreeMap<DnsKey, DnsCount> {
    let book = Book::default();
    for id in 0..2 {
        let mut slot = DnsSlot::default();
        let (client, server) = (0x0101_000a_u32, 0x0a00_600a);
        let query = Message::new(client, server, [4000, 53], id << 16).unwrap();
        slot.query(&query, POD_OUT, true, &book);
        let answer = Message::new(server, client, [53, 4000], id << 16 | 0x8183).unwrap();
        slot.answer(&answer, POD_IN, &book);
    }
    let mut counts = book.0.into_inner();
    let together: Vec<_> = counts.iter().map(|(key, count)| (key.of_many(), *count)).collect();
    counts.extend(together);
    counts.insert(DnsKey::all_others()[0], DnsCount { times: 4, nanoseconds: 0 });
    counts
}

#[derive(Default)]
struct Book(RefCell<BTreeMap<DnsKey, DnsCount>>);

impl Ledger for Book {
    fn now(&self) -> u64 {
        0
    }

    fn timeout(&self) -> u64 {
        1
    }

    fn count(&self, key: &DnsKey, _nanoseconds: u64) {
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(*key).or_default();
        count.times += 1;
        count.nanoseconds += 2_000_000;
    }
}

#[test]
fn dns_is_told_by_server_with_the_buckets_of_the_contract() {
    let text = text();
    let of = |sample: &str| value(&text, &format!("flannel_tracer_dns_{sample}"));
    assert_eq!(of("queries_total{server=\"10.96.0.10\"}"), 2);
    assert_eq!(of("queries_total{server=\"other\"}"), 2 + 4);
    let answers = "answers_total{server=\"10.96.0.10\",endpoint=\"\",rcode=\"NXDOMAIN\"}";
    assert_eq!([of(answers), of(&answers.replace("10.96.0.10", "other"))], [2, 2]);
    let bucket = |le| of(&format!("latency_seconds_bucket{{le=\"{le}\",server=\"10.96.0.10\"}}"));
    assert_eq!((bucket("0.0005"), bucket("5.0"), bucket("+Inf")), (2, 2, 2));
    assert_eq!(of("latency_seconds_count{server=\"other\"}"), 2);
    assert!(text.contains("# TYPE flannel_tracer_dns_latency_seconds histogram\n"));
}

/// Two flows of which one has a series, and one drop of which no flow is known.
fn drops() -> DropTotals {
    let entries = vec![dropped_to(53, 10), dropped_to(80, 5)];
    let mut totals = DropTotals::new(1);
    let drops = Drops { entries, packets: 16, ..Drops::default() };
    totals.add(1.0, &drops, &["fdb-entry-missing"], &["cni0"]);
    totals
}

fn text() -> String {
    render(&snapshot(), Exposition::Text).unwrap()
}

fn value(text: &str, sample: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).trim().parse().unwrap()
}

#[test]
fn a_stage_is_the_sum_of_all_its_slots() {
    let text = text();
    let packets =
        |stage| value(&text, &format!("flannel_tracer_stage_packets_total{{stage=\"{stage}\"}}"));
    assert_eq!((packets("overlay_out"), packets("wire_out"), packets("leak")), (21, 10, 11));
}

#[test]
fn leaks_for_no_known_peer_are_told_too() {
    assert_eq!(value(&text(), "flannel_tracer_leaked_packets_total{cidr=\"other\"}"), 7);
}

#[test]
fn an_open_finding_has_its_severity_and_its_begin() {
    let (text, finding) = (text(), snapshot().findings.remove(0));
    let (code, key) = (finding.code, finding.subject.key);
    let sample = format!(
        "flannel_tracer_finding{{code=\"{code}\",severity=\"critical\",subject=\"{key}\"}}"
    );
    assert_eq!(value(&text, &sample), 1);
    assert!(text.contains("flannel_tracer_finding_since_timestamp_seconds{code="));
}

#[test]
fn what_is_not_known_of_flannel_has_no_sample() {
    let mut unknown = snapshot();
    unknown.flannel.process = FlannelProcess::Unknown;
    let text = render(&unknown, Exposition::Text).unwrap();
    assert!(!text.lines().any(|line| line.starts_with("flannel_tracer_flannel_up")));
}

#[test]
fn flannels_memory_is_told_where_it_is_known() {
    let mut known = snapshot();
    known.flannel.memory = Some(FlannelMemory {
        bytes: 30 << 20,
        limit_bytes: Some(50 << 20),
        oom_kills: 2,
        last_oom: None,
        cgroup: "/kubepods/pod1".to_owned(),
    });
    let told = render(&known, Exposition::Text).unwrap();
    assert_eq!(value(&told, "flannel_tracer_flannel_memory_bytes "), 30 << 20);
    assert_eq!(value(&told, "flannel_tracer_flannel_memory_limit_bytes "), 50 << 20);
    assert_eq!(value(&told, "flannel_tracer_flannel_oom_kills_total "), 2);
    assert!(!text().lines().any(|line| line.starts_with("flannel_tracer_flannel_memory")));
}

#[test]
fn vips_that_find_no_room_are_counted() {
    assert_eq!(value(&text(), "flannel_tracer_vips_without_room"), 2);
}

#[test]
fn a_hundred_peers_stay_below_the_contracts_number_of_series() {
    let mut many = snapshot();
    let (slot, verdict) = (SlotReading::default(), many.peers[0].clone());
    for number in 0..100_u8 {
        let cidr: IpNet = format!("10.1.{number}.0/24").parse().unwrap();
        many.sums.peers.insert(cidr, slot);
        many.last_seen.insert(cidr, Timestamp::UNIX_EPOCH);
        many.peers.push(PeerVerdict { cidr, ..verdict.clone() });
    }
    let text = render(&many, Exposition::Text).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 2_500, "{series} series leave too little room for flows, VIPs and DNS");
}

#[test]
fn drops_add_up_by_cause_and_by_flow() {
    let text = text();
    let sum = |name: &str| -> u64 {
        let lines =
            text.lines().filter(|line| line.starts_with(&format!("flannel_tracer_{name}{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!((sum("drops_total"), sum("flow_drops_total")), (16, 16), "{text}");
    let cause = r#"flannel_tracer_drops_total{cause="fdb-entry-missing",reason="NETFILTER_DROP",interface="cni0"}"#;
    assert_eq!(value(&text, cause), 10);
    let flow = r#"flannel_tracer_flow_drops_total{source="10.244.1.9",destination="10.244.2.5",protocol="udp",destination_port="53",cause="fdb-entry-missing",source_pod="",destination_pod=""}"#;
    assert_eq!(value(&text, flow), 10);
    let other = r#"flannel_tracer_flow_drops_total{source="other",destination="other",protocol="other",destination_port="other",cause="other",source_pod="",destination_pod=""}"#;
    assert_eq!(value(&text, other), 6);
}
