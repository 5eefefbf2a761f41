//! Names, labels and values of the contract.

mod dns;
mod drops;
mod samples;
#[cfg(test)]
pub(super) mod tests;
mod vips;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use tracer_common::{
    counter::{PARSE_ERRORS, ParseError},
    dns::{DnsCount, DnsKey},
    stage::{HOST, LEAK},
};

pub use self::vips::VipMetrics;
use super::{Family, Histogram, Kind, Sample, Value};
use crate::{
    daemon::{drops::DropTotals, totals::Sums},
    diagnose::{Finding, PeerVerdict},
    evidence::{
        Capability, CapabilityState, Flannel, FlannelProcess, Hook, HookDirection, Node, Stage,
    },
    kernel::SlotReading,
    netlink::{Action, Table},
};

/// Everything that is exported, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// This node.
    pub node: Node,
    /// The address of its tunnel end.
    pub node_ip: Option<IpAddr>,
    /// Its pod CIDRs.
    pub pod_cidrs: Vec<IpNet>,
    /// Totals since the daemon began.
    pub sums: Sums,
    /// The peers as they were judged last.
    pub peers: Vec<PeerVerdict>,
    /// When packets of a peer were seen last.
    pub last_seen: BTreeMap<IpNet, Timestamp>,
    /// The open findings.
    pub findings: Vec<Finding>,
    /// The devices that play a part.
    pub interfaces: Vec<Interface>,
    /// flannel's process.
    pub flannel: Flannel,
    /// The tracer's features.
    pub capabilities: Vec<Capability>,
    /// Where programs are to be attached.
    pub hooks: Vec<Hook>,
    /// What was dropped; `None` when drops are not observed.
    pub drops: Option<DropTotals>,
    /// The VIPs that are counted.
    pub vips: Vec<VipMetrics>,
    /// VIPs that were learned and are forgotten.
    pub vips_forgotten: u64,
    /// VIPs that find no room in the programs' tables.
    pub vips_without_room: u64,
    /// What became of DNS queries; `None` when they are not paired.
    pub dns: Option<BTreeMap<DnsKey, DnsCount>>,
    /// Changes of the kernel's tables.
    pub table_changes: BTreeMap<(Table, Action), u64>,
    /// How often the kernel had more to tell of its tables than there was room for.
    pub netlink_overruns: u64,
    /// Events that nobody read in time.
    pub events_lost: u64,
    /// Flows in the table when it was read last.
    pub flows: u64,
    /// Flows that fit.
    pub flow_capacity: u64,
    /// Slots in use.
    pub slots: u64,
    /// Slots that there are.
    pub slot_capacity: u64,
    /// Sights of what is rare in their tables.
    pub sights: u64,
    /// Sights that fit.
    pub sight_capacity: u64,
    /// What was built.
    pub version: &'static str,
    /// From which commit.
    pub commit: &'static str,
}

/// A device with a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `overlay`, `bridge` or `uplink`.
    pub role: &'static str,
    /// Its name.
    pub name: String,
    /// It is up, and has a carrier.
    pub up: bool,
}

/// All families, in the order of the contract.
pub(super) fn families(snapshot: &Snapshot) -> Vec<Family> {
    let mut all = Vec::from(stages(&snapshot.sums));
    all.extend(peers(snapshot));
    all.extend(snapshot.drops.iter().flat_map(drops::families));
    all.extend(vips::families(&snapshot.vips));
    all.push(vips::forgotten(snapshot.vips_forgotten));
    all.push(vips::without_room(snapshot.vips_without_room));
    all.extend(snapshot.dns.iter().flat_map(dns::families));
    all.extend(node(snapshot));
    all.extend(findings(&snapshot.findings));
    all.extend(flannel(&snapshot.flannel));
    all.extend(own(snapshot));
    all.extend(samples::families(&snapshot.sums));
    all.extend(maps(snapshot));
    all
}

/// The stages proper, leaks and what the node itself sent: names and indices.
fn sized_counts() -> impl Iterator<Item = (&'static str, usize)> {
    let stages = Stage::ALL.iter().enumerate().map(|(index, stage)| (stage.name(), index));
    stages.chain([("leak", LEAK), ("host", HOST)])
}

fn stages(sums: &Sums) -> [Family; 2] {
    let by_stage = |value: &dyn Fn(usize) -> u64| {
        sized_counts().map(|(name, index)| count(vec![("stage", name)], value(index))).collect()
    };
    [
        counter(
            "stage_packets",
            "Packets (segments) seen at a stage.",
            by_stage(&|index| sums.packets(index)),
        ),
        counter(
            "stage_bytes",
            "Inner bytes seen at a stage.",
            by_stage(&|index| sums.bytes(index)),
        ),
    ]
}

fn peers(snapshot: &Snapshot) -> Vec<Family> {
    let of_peers = |value: &dyn Fn(&SlotReading, usize) -> u64| {
        let mut samples = Vec::new();
        for (cidr, slot) in &snapshot.sums.peers {
            for (index, stage) in Stage::ALL.iter().enumerate() {
                let labels = vec![("peer", cidr.to_string()), ("stage", stage.name().to_owned())];
                samples.push(Sample { labels, value: Value::Count(value(slot, index)) });
            }
        }
        samples
    };
    let last_seen = snapshot.last_seen.iter().map(|(cidr, time)| Sample {
        labels: vec![("peer", cidr.to_string())],
        value: seconds(*time),
    });
    let info = snapshot.peers.iter().map(|peer| {
        let labels = vec![
            ("peer", peer.cidr.to_string()),
            ("node", peer.name.clone().unwrap_or_default()),
            ("node_ip", peer.node_ip.map(|ip| ip.to_string()).unwrap_or_default()),
            ("vtep_mac", peer.vtep_mac.map(|mac| mac.to_string()).unwrap_or_default()),
        ];
        Sample { labels, value: Value::Count(1) }
    });
    vec![
        counter(
            "peer_packets",
            "Packets (segments) of a peer seen at a stage.",
            of_peers(&|slot, index| slot.packets[index]),
        ),
        counter(
            "peer_bytes",
            "Inner bytes of a peer seen at a stage.",
            of_peers(&|slot, index| slot.bytes[index]),
        ),
        gauge(
            "peer_last_seen_timestamp_seconds",
            "When a packet of a peer came in last.",
            last_seen.collect(),
        ),
        gauge("peer_info", "The peers, by pod CIDR.", info.collect()),
        counter(
            "leaked_packets",
            "Packets for the pod network that left an uplink un-encapsulated.",
            leaked(&snapshot.sums),
        ),
    ]
}

/// By peer; those for no known peer as `other`.
fn leaked(sums: &Sums) -> Vec<Sample> {
    let other = sums.common.iter().map(|slot| slot.packets[LEAK]).sum();
    let of_peers = sums.peers.iter().map(|(cidr, slot)| (cidr.to_string(), slot.packets[LEAK]));
    of_peers
        .chain([("other".to_owned(), other)])
        .map(|(cidr, packets)| count(vec![("cidr", &cidr)], packets))
        .collect()
}

fn node(snapshot: &Snapshot) -> [Family; 3] {
    let node_ip = snapshot.node_ip.map(|ip| ip.to_string()).unwrap_or_default();
    let info = snapshot.pod_cidrs.iter().map(|cidr| {
        let cidr = cidr.to_string();
        count(vec![("node", &snapshot.node.name), ("node_ip", &node_ip), ("pod_cidr", &cidr)], 1)
    });
    let up = snapshot.interfaces.iter().map(|interface| {
        let labels = vec![("role", interface.role), ("interface", &interface.name)];
        count(labels, u64::from(interface.up))
    });
    let changes = Table::ALL.iter().flat_map(|table| {
        Action::ALL.iter().map(|action| {
            let changes = snapshot.table_changes.get(&(*table, *action)).copied();
            let labels = vec![("table", table.name()), ("action", action.name())];
            count(labels, changes.unwrap_or(0))
        })
    });
    [
        gauge("node_info", "This node, by pod CIDR.", info.collect()),
        gauge(
            "interface_up",
            "Whether a device with a role is up and has a carrier.",
            up.collect(),
        ),
        counter("table_changes", "Changes of the kernel's tables.", changes.collect()),
    ]
}

fn findings(findings: &[Finding]) -> [Family; 2] {
    let open = findings.iter().map(|finding| {
        let labels = vec![
            ("code", finding.code),
            ("severity", finding.severity.name()),
            ("subject", &finding.subject.key),
        ];
        count(labels, 1)
    });
    let since = findings.iter().filter_map(|finding| {
        // What cannot be dated is known to have held at a time.
        let time = finding.since.time.or(finding.since.not_after)?;
        let labels =
            vec![("code", finding.code.to_owned()), ("subject", finding.subject.key.clone())];
        Some(Sample { labels, value: seconds(time) })
    });
    [
        gauge("finding", "An open finding.", open.collect()),
        gauge(
            "finding_since_timestamp_seconds",
            "When an open finding began, or was seen first.",
            since.collect(),
        ),
    ]
}

/// Without samples where it is not known.
fn flannel(flannel: &Flannel) -> [Family; 5] {
    let up = match flannel.process {
        FlannelProcess::Unknown => None,
        FlannelProcess::None => Some(0),
        FlannelProcess::Flanneld | FlannelProcess::K3s | FlannelProcess::Rke2 => Some(1),
    };
    let memory = flannel.memory.as_ref();
    let of_memory = |value: Option<u64>| value.map(|it| count(vec![], it)).into_iter().collect();
    let start = flannel.since.map(|time| Sample { labels: Vec::new(), value: seconds(time) });
    [
        gauge(
            "flannel_up",
            "Whether the process that contains flannel runs.",
            up.map(|up| count(vec![], up)).into_iter().collect(),
        ),
        gauge(
            "flannel_start_timestamp_seconds",
            "When that process was started.",
            start.into_iter().collect(),
        ),
        gauge(
            "flannel_memory_bytes",
            "Memory of that process' cgroup, without inactive file pages.",
            of_memory(memory.map(|it| it.bytes)),
        ),
        gauge(
            "flannel_memory_limit_bytes",
            "Most memory that this cgroup may use.",
            of_memory(memory.and_then(|it| it.limit_bytes)),
        ),
        counter(
            "flannel_oom_kills",
            "Processes of this cgroup that the kernel killed for want of memory.",
            of_memory(memory.map(|it| it.oom_kills)),
        ),
    ]
}

fn own(snapshot: &Snapshot) -> Vec<Family> {
    let features = snapshot.capabilities.iter().map(|capability| {
        let state = match capability.state {
            CapabilityState::On => "on",
            CapabilityState::Degraded => "degraded",
            CapabilityState::Off => "off",
        };
        count(vec![("feature", &capability.feature), ("state", state)], 1)
    });
    let hooks = snapshot.hooks.iter().map(|hook| {
        let direction = match hook.direction {
            HookDirection::Ingress => "ingress",
            HookDirection::Egress => "egress",
        };
        let labels = vec![("interface", hook.interface.as_str()), ("direction", direction)];
        count(labels, u64::from(hook.attached))
    });
    let build = vec![("version", snapshot.version), ("commit", snapshot.commit)];
    vec![
        gauge(
            "capability",
            "The tracer's features on this kernel with these privileges.",
            features.collect(),
        ),
        counter(
            "events_lost",
            "Events that could not be told.",
            vec![
                count(vec![("source", "stdout")], snapshot.events_lost),
                count(vec![("source", "samples")], snapshot.sums.samples_lost()),
            ],
        ),
        counter("parse_errors", "Packets that could not be parsed.", parse_errors(&snapshot.sums)),
        gauge(
            "hook_attached",
            "Whether a program is attached to one side of a device.",
            hooks.collect(),
        ),
        counter(
            "netlink_overruns",
            "How often the kernel had more to tell of its tables than there was room for.",
            vec![count(vec![], snapshot.netlink_overruns)],
        ),
        gauge("build_info", "What was built.", vec![count(build, 1)]),
    ]
}

fn parse_errors(sums: &Sums) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (index, stage) in Stage::ALL.iter().enumerate() {
        for kind in ParseError::ALL {
            let errors = sums.parse_errors.get(index * PARSE_ERRORS + kind as usize).copied();
            let labels = vec![("stage", stage.name()), ("kind", kind.name())];
            samples.push(count(labels, errors.unwrap_or(0)));
        }
    }
    samples
}

fn maps(snapshot: &Snapshot) -> [Family; 4] {
    // The flow tables of both IP versions are one to a reader.
    let of_maps = |numbers: [u64; 3]| {
        let named = ["flows", "peers", "sightings"].into_iter().zip(numbers);
        named.map(|(map, number)| count(vec![("map", map)], number)).collect()
    };
    let sums = &snapshot.sums;
    [
        counter(
            "flow_evictions",
            "Flows that newer ones pushed out of the table.",
            vec![count(vec![], sums.flow_evictions)],
        ),
        gauge(
            "map_entries",
            "Entries in use.",
            of_maps([snapshot.flows, snapshot.slots, snapshot.sights]),
        ),
        gauge(
            "map_capacity",
            "Entries that fit.",
            of_maps([snapshot.flow_capacity, snapshot.slot_capacity, snapshot.sight_capacity]),
        ),
        counter(
            "map_insert_failures",
            "Entries that the kernel refused.",
            vec![
                count(vec![("map", "flows")], sums.flow_insert_failures),
                count(vec![("map", "sightings")], sums.other_sights),
                count(vec![("map", "dns")], sums.other_dns),
            ],
        ),
    ]
}

fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, help, kind: Kind::Counter, samples }
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, help, kind: Kind::Gauge, samples }
}

fn count(labels: Vec<(&'static str, &str)>, value: u64) -> Sample {
    let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Sample { labels, value: Value::Count(value) }
}

fn seconds(time: Timestamp) -> Value {
    Value::Time(time.as_millisecond() as f64 / 1000.0)
}
