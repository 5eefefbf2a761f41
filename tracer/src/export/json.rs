//! The JSON of `check`, `flannel-tracer/check/v1`: keys are only ever added.

mod dns;
mod drop;
mod flow;
mod joined;
mod probe;
mod vip;

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::drop::DropJson;
pub use self::joined::render_joined;
pub use self::vip::owner_node;
use self::{flow::FlowJson, joined::PartJson, vip::VipJson};
use super::words::{self, MOST_ENTRIES};
use crate::{
    diagnose::{Coverage, Diagnosis, Finding, PeerState, PeerVerdict},
    evidence::{
        Capability, Count, Evidence, FlannelProcess, Hook, Link, MacAddress, Platform,
        SelfCounters, StageTotals, Window,
    },
    filter::{Chosen, FlowFilter},
    topology::Topologies,
};

/// Name and version of the format.
pub const SCHEMA: &str = "flannel-tracer/check/v1";

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Check<'a> {
    schema: &'static str,
    node: NodeJson<'a>,
    /// All of them, where several were judged together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<PartJson<'a>>,
    window: Window,
    interfaces: Vec<InterfaceJson<'a>>,
    capabilities: &'a [Capability],
    coverage: CoverageJson,
    stages: StagesJson,
    flows: Vec<FlowJson>,
    peers: Vec<PeerJson<'a>>,
    drops: Vec<DropJson<'a>>,
    dns: Vec<dns::DnsJson>,
    vips: Vec<VipJson>,
    /// Only where peers were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<Vec<probe::ProbeJson<'a>>>,
    flannel: FlannelJson,
    findings: Vec<FindingJson<'a>>,
    unseen: &'a [String],
    #[serde(rename = "self")]
    own: SelfCounters,
    truncated: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct NodeJson<'a> {
    name: &'a str,
    ip: Option<IpAddr>,
    pod_cidrs: &'a [IpNet],
    kernel: &'a str,
    platform: Platform,
}

#[derive(Debug, Serialize)]
struct InterfaceJson<'a> {
    role: &'static str,
    name: &'a str,
    ifindex: u32,
    mac: Option<MacAddress>,
    mtu: u32,
    state: &'static str,
    vni: Option<u32>,
    port: Option<u16>,
    attached: bool,
}

#[derive(Debug, Serialize)]
struct CoverageJson {
    tables: bool,
    stages: bool,
    drops: &'static str,
    peers_total: usize,
    peers_verified: usize,
    peers_unverified: usize,
    daemon: bool,
}

#[derive(Debug, Serialize)]
struct StagesJson {
    pod_out: Count,
    overlay_out: Count,
    wire_out: Count,
    wire_in: Count,
    overlay_in: Count,
    pod_in: Count,
    leak: Count,
    host: Count,
}

#[derive(Debug, Serialize)]
struct PeerJson<'a> {
    key: String,
    node_ip: Option<IpAddr>,
    name: Option<&'a str>,
    pod_cidrs: [IpNet; 1],
    vtep_mac: Option<MacAddress>,
    family: u8,
    packets: PeerPackets,
    last_seen: Option<Timestamp>,
    state: PeerState,
    alive: Option<bool>,
    /// Key of the node that says it, where several were judged together.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_from: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct FindingJson<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    /// Key of the node where it was found, where several were judged together.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PeerPackets {
    overlay_out: u64,
    wire_out: u64,
    wire_in: u64,
    overlay_in: u64,
}

#[derive(Debug, Serialize)]
struct FlannelJson {
    process: FlannelProcess,
    pid: Option<u32>,
    since: Option<Timestamp>,
    memory_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    oom_kills: Option<u64>,
    last_oom: Option<Timestamp>,
}

/// The document for a diagnosis. With a filter it lists only the flows and drops that are meant.
#[must_use]
pub fn document<'a>(
    diagnosis: &'a Diagnosis,
    evidence: &'a Evidence,
    filter: Option<&FlowFilter>,
) -> Check<'a> {
    let topologies = Topologies::of(evidence);
    let traffic = evidence.traffic.as_ref();
    let chosen = filter.map(|filter| Chosen::of(filter, diagnosis));
    let mut truncated = BTreeMap::new();
    let (flows, more) = flow::flows(&topologies, evidence, chosen.as_ref());
    truncated.insert("flows", more + traffic.map_or(0, |it| it.flows_left_out));
    let (drops, more) = drop::drops(diagnosis, evidence, chosen.as_ref());
    let left_out = more + evidence.drops.as_ref().map_or(0, |it| it.left_out);
    if left_out > 0 {
        truncated.insert("drops", left_out);
    }
    let (dns, more) = dns::rows(evidence);
    if more > 0 {
        truncated.insert("dns", more);
    }
    let mut peers: Vec<&PeerVerdict> = diagnosis.peers.iter().collect();
    peers.sort_by_key(|peer| Reverse(total(peer)));
    cut(&mut peers, "peers", &mut truncated);
    let (mut vips, more) = vip::vips(evidence);
    cut(&mut vips, "vips", &mut truncated);
    if more > 0 {
        truncated.insert("vip_clients", more);
    }
    let mut probes = probe::probes(evidence);
    if let Some(probes) = &mut probes {
        cut(probes, "probes", &mut truncated);
    }
    let findings = diagnosis.findings.iter();
    let mut findings: Vec<FindingJson<'_>> =
        findings.map(|finding| FindingJson { finding, node: None }).collect();
    cut(&mut findings, "findings", &mut truncated);
    Check {
        schema: SCHEMA,
        node: node(diagnosis, evidence),
        nodes: Vec::new(),
        window: evidence.window,
        interfaces: interfaces(evidence),
        capabilities: &evidence.capabilities,
        coverage: coverage(&diagnosis.coverage, drop::coverage([evidence])),
        stages: stages(traffic.map(|it| &it.stages)),
        flows,
        peers: peers.into_iter().map(peer).collect(),
        drops,
        dns,
        vips,
        probes,
        flannel: flannel(evidence),
        findings,
        unseen: &diagnosis.unseen,
        own: traffic.map(|it| it.own).unwrap_or_default(),
        truncated,
    }
}

/// The document as text, one line at the end.
pub fn render(
    diagnosis: &Diagnosis,
    evidence: &Evidence,
    filter: Option<&FlowFilter>,
) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&document(diagnosis, evidence, filter))?;
    text.push('\n');
    Ok(text)
}

fn cut<T>(list: &mut Vec<T>, name: &'static str, truncated: &mut BTreeMap<&'static str, u64>) {
    let left_out = list.len().saturating_sub(MOST_ENTRIES);
    list.truncate(MOST_ENTRIES);
    if left_out > 0 {
        truncated.insert(name, left_out as u64);
    }
}

fn node<'a>(diagnosis: &'a Diagnosis, evidence: &'a Evidence) -> NodeJson<'a> {
    NodeJson {
        name: &evidence.node.name,
        ip: diagnosis.node_ip,
        pod_cidrs: &diagnosis.pod_cidrs,
        kernel: &evidence.node.kernel,
        platform: evidence.node.platform,
    }
}

fn interfaces(evidence: &Evidence) -> Vec<InterfaceJson<'_>> {
    words::role_links(evidence)
        .into_iter()
        .map(|it| InterfaceJson {
            role: it.role,
            name: &it.link.name,
            ifindex: it.link.index,
            mac: it.link.mac,
            mtu: it.link.mtu,
            state: link_state(it.link),
            vni: it.link.vxlan.as_ref().map(|vxlan| vxlan.vni),
            port: it.link.vxlan.as_ref().map(|vxlan| vxlan.port),
            attached: is_attached(evidence, it.role, it.link.index),
        })
        .collect()
}

const fn link_state(link: &Link) -> &'static str {
    match (link.up, link.lower_up) {
        (false, _) => "down",
        (true, false) => "no-carrier",
        (true, true) => "up",
    }
}

/// By the programs of a device's role: an uplink whose stages are counted is attached, whether VIPs are
/// seen there too or not.
fn is_attached(evidence: &Evidence, role: &str, index: u32) -> bool {
    let of_vips = evidence.vips.iter().flat_map(|vips| &vips.hooks);
    let hooks: Vec<&Hook> =
        if role == "vip" { of_vips.collect() } else { evidence.hooks.iter().collect() };
    let mut hooks = hooks.into_iter().filter(|hook| hook.ifindex == index).peekable();
    hooks.peek().is_some() && hooks.all(|hook| hook.attached)
}

const fn coverage(coverage: &Coverage, drops: &'static str) -> CoverageJson {
    CoverageJson {
        tables: coverage.tables,
        stages: coverage.stages,
        drops,
        peers_total: coverage.peers_total,
        peers_verified: coverage.peers_verified,
        peers_unverified: coverage.peers_unverified,
        daemon: false,
    }
}

fn stages(totals: Option<&StageTotals>) -> StagesJson {
    let totals = totals.cloned().unwrap_or_default();
    StagesJson {
        pod_out: totals.pod_out,
        overlay_out: totals.overlay_out,
        wire_out: totals.wire_out,
        wire_in: totals.wire_in,
        overlay_in: totals.overlay_in,
        pod_in: totals.pod_in,
        leak: totals.leak,
        host: totals.host,
    }
}

fn peer(peer: &PeerVerdict) -> PeerJson<'_> {
    PeerJson {
        key: peer.cidr.to_string(),
        node_ip: peer.node_ip,
        name: peer.name.as_deref(),
        pod_cidrs: [peer.cidr],
        vtep_mac: peer.vtep_mac,
        family: if peer.cidr.addr().is_ipv4() { 4 } else { 6 },
        packets: PeerPackets {
            overlay_out: peer.packets.overlay_out,
            wire_out: peer.packets.wire_out,
            wire_in: peer.packets.wire_in,
            overlay_in: peer.packets.overlay_in,
        },
        last_seen: None,
        state: peer.state,
        alive: peer.alive,
        seen_from: None,
    }
}

const fn total(peer: &PeerVerdict) -> u64 {
    peer.packets.overlay_out + peer.packets.overlay_in
}

fn flannel(evidence: &Evidence) -> FlannelJson {
    let flannel = &evidence.flannel;
    let memory = flannel.memory.as_ref();
    FlannelJson {
        process: flannel.process,
        pid: flannel.pid,
        since: flannel.since,
        memory_bytes: memory.map(|it| it.bytes),
        memory_limit_bytes: memory.and_then(|it| it.limit_bytes),
        oom_kills: memory.map(|it| it.oom_kills),
        last_oom: memory.and_then(|it| it.last_oom),
    }
}
