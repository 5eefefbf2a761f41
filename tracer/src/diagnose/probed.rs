//! What `--probe` has shown of the way to peers.

use std::collections::{BTreeMap, BTreeSet};

use super::{case::Case, finding::Since, rule::Effect};
use crate::{
    evidence::{PeerProbe, StagePair},
    topology::Peer,
};

/// Peers that a line names.
const NAMED: usize = 3;

/// A peer that small packets reach, and full ones do not.
pub(super) struct Limit<'a> {
    pub(super) peer: &'a Peer<'a>,
    /// The largest that arrived, bytes with its IP header.
    pub(super) passes: u32,
    /// The smallest that did not.
    pub(super) lost: u32,
    pub(super) probe: &'a PeerProbe,
}

/// Those of this case's IP version.
pub(super) fn limits<'a>(case: &'a Case<'_>) -> impl Iterator<Item = Limit<'a>> {
    let probes = case.evidence.probes.iter().flat_map(|probes| &probes.peers);
    probes.filter_map(|probe| {
        let peer = case.topology.peer(probe.cidr)?;
        let (passes, lost) = probe.limit()?;
        Some(Limit { peer, passes, probe, lost })
    })
}

/// It was so when the probes were answered.
pub(super) fn since(case: &Case<'_>) -> Since {
    let seconds = case.evidence.probes.as_ref().map_or(0.0, |probes| probes.seconds);
    Since { not_after: case.moments_ago(-seconds), ..case.in_window() }
}

/// What is lost beyond the uplink, now or with the next full packet.
pub(super) fn lost(peer: &Peer<'_>) -> BTreeSet<Effect> {
    BTreeSet::from([Effect::Loss(peer.cidr, StagePair::WireToPeer)])
}

impl Limit<'_> {
    /// The numbers, in words.
    pub(super) fn told(&self) -> String {
        let Self { probe, passes, lost, .. } = self;
        let [small, full] = [probe.sizes.first(), probe.sizes.last()].map(|size| {
            size.map_or_else(String::new, |it| {
                format!("{} of {} of {} bytes", it.answered, it.sent, it.bytes)
            })
        });
        let address = probe.address.map(|it| it.to_string()).unwrap_or_default();
        format!(
            "probes to {address}: {small} were answered, {full}; {passes} bytes passed, {lost} did not"
        )
    }
}

/// Peers whose answers tell nothing, by why.
pub(super) fn unseen(case: &Case<'_>) -> Vec<String> {
    let probes = case.evidence.probes.iter().flat_map(|probes| &probes.peers);
    let mut silent: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for probe in probes {
        if let Some((peer, because)) = case.topology.peer(probe.cidr).zip(unclear(probe)) {
            silent.entry(because).or_default().push(peer.label());
        }
    }
    let line = |(because, peers): (&str, Vec<String>)| {
        let named = peers.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = peers.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("which sizes pass to {named}{more}: {because}")
    };
    silent.into_iter().map(line).collect()
}

fn unclear(probe: &PeerProbe) -> Option<&'static str> {
    if probe.address.is_none() {
        return Some("no probe is answered, as behind a firewall, or where nothing passes");
    }
    if probe.is_full() {
        return None;
    }
    if probe.heeded {
        return Some(
            "not full ones, and the kernel knows it: whoever sends them is told (`ip route get` shows \
             the mtu)",
        );
    }
    if probe.limit().is_some() {
        return None;
    }
    let full = probe.sizes.last()?;
    Some(if full.sent == 0 { "this node sends no full ones" } else { "small probes were lost too" })
}
