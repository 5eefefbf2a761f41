//! `vips`: who asks for the addresses of load balancers, and who answers.

use std::{cmp::Reverse, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::MOST_ENTRIES;
use crate::{
    evidence::{Evidence, MacAddress, Tables, Vip},
    topology::{MacOwner, Topologies, mac_owner},
};

#[derive(Debug, Serialize)]
pub(crate) struct VipJson {
    address: IpAddr,
    interface: Option<String>,
    requests: u64,
    retrying_clients: usize,
    clients: Vec<IpAddr>,
    replies: u64,
    gratuitous: u64,
    owner_mac: Option<MacAddress>,
    owner_node: Option<String>,
    owner_since: Option<Timestamp>,
    former_owner_mac: Option<MacAddress>,
    gap_seconds: Option<f64>,
    owner_changes: u64,
    macs: Vec<MacJson>,
    ours: bool,
    on_device: bool,
    service_rules: Option<bool>,
    last_gratuitous: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct MacJson {
    mac: MacAddress,
    node: Option<String>,
    replies: u64,
    gratuitous: u64,
}

/// The VIPs of an evidence, those with most requests first, and how many of their clients are left out.
pub(crate) fn vips(evidence: &Evidence) -> (Vec<VipJson>, u64) {
    let topologies = Topologies::of(evidence);
    let node_of = |mac| node_of(evidence, &topologies, mac);
    let mut entries: Vec<&Vip> = evidence.vips.iter().flat_map(|vips| &vips.entries).collect();
    entries.sort_by_key(|vip| Reverse(vip.requests));
    let more = |vip: &&Vip| vip.clients.len().saturating_sub(MOST_ENTRIES) as u64;
    let left_out = entries.iter().map(more).sum();
    (entries.into_iter().map(|vip| json(evidence, vip, &node_of)).collect(), left_out)
}

fn json(evidence: &Evidence, vip: &Vip, node_of: &dyn Fn(MacAddress) -> Option<String>) -> VipJson {
    let owner = vip.owner.as_ref();
    let is_local = |tables: &Tables| tables.is_local(vip.address);
    let on_device = evidence.tables.as_ref().is_some_and(is_local);
    let service_rules = vip.rules.map(|rules| rules.named);
    let clients = vip.clients.iter().take(MOST_ENTRIES);
    VipJson {
        address: vip.address,
        interface: vip.interface.clone(),
        requests: vip.requests,
        retrying_clients: vip.clients.iter().filter(|client| client.retries(vip)).count(),
        clients: clients.map(|client| client.address).collect(),
        replies: vip.replies,
        gratuitous: vip.gratuitous,
        owner_mac: owner.map(|it| it.mac),
        owner_node: owner.and_then(|it| node_of(it.mac)),
        owner_since: owner.and_then(|it| ago(evidence, it.since_age)),
        former_owner_mac: owner.and_then(|it| it.former),
        gap_seconds: owner.and_then(|it| it.gap),
        owner_changes: vip.owner_changes,
        macs: vip
            .announcers
            .iter()
            .map(|it| MacJson {
                mac: it.mac,
                node: node_of(it.mac),
                replies: it.replies,
                gratuitous: it.gratuitous,
            })
            .collect(),
        ours: on_device || service_rules == Some(true),
        on_device,
        service_rules,
        last_gratuitous: vip.gratuitous_age.and_then(|age| ago(evidence, age)),
    }
}

/// The name of the node that a MAC belongs to, else its address; `None` when it is not known.
#[must_use]
pub fn owner_node(evidence: &Evidence, mac: MacAddress) -> Option<String> {
    node_of(evidence, &Topologies::of(evidence), mac)
}

fn node_of(evidence: &Evidence, topologies: &Topologies<'_>, mac: MacAddress) -> Option<String> {
    match mac_owner(topologies, evidence.tables.as_ref()?, mac)? {
        MacOwner::Own => Some(evidence.node.name.clone()),
        MacOwner::Peer { node, name } => Some(name.map_or_else(|| node.to_string(), str::to_owned)),
    }
}

/// The time `age` seconds before the end of the window, to the millisecond.
fn ago(evidence: &Evidence, age: f64) -> Option<Timestamp> {
    let since_start = SignedDuration::try_from_secs_f64(evidence.window.seconds - age).ok()?;
    let since_start = SignedDuration::from_millis(i64::try_from(since_start.as_millis()).ok()?);
    evidence.window.start.checked_add(since_start).ok()
}
