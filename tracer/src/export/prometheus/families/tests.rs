use tracer_common::stage::{OVERLAY_OUT, WIRE_OUT};

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
        table_changes: BTreeMap::from([((Table::Route, Action::Deleted), 4)]),
        drops: Some(drops()),
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
