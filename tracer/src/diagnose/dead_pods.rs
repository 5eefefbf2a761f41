//! Addresses of this node's pod network that packets ask for and that nobody has: the bridge asks
//! for their MAC in vain.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::case::Case;
use crate::{
    evidence::{Link, Neighbour, NeighbourState, Stage},
    topology::nth_address,
};

/// How many packets must have come for an address before it means something.
const ENOUGH: u64 = 3;

/// An address that no pod has.
pub(super) struct DeadPod<'a> {
    /// The address.
    pub(super) address: IpAddr,
    /// Packets that came for it out of the tunnel.
    pub(super) packets: u64,
    /// The bridge's neighbour entry for it.
    pub(super) entry: &'a Neighbour,
    /// The bridge.
    pub(super) bridge: &'a Link,
}

/// All such addresses, in their order. The entry must be unresolved when the tables are read before
/// the window and after it: a rule that rests on it is asked both times.
pub(super) fn dead_pods<'a>(case: &Case<'a>) -> Vec<DeadPod<'a>> {
    let Some(bridge) = case.topology.bridge.filter(|bridge| bridge.up && bridge.lower_up) else {
        return Vec::new();
    };
    if !case.sees_all(Stage::OverlayIn) || !case.sees_all(Stage::PodIn) {
        return Vec::new();
    }
    let mut asked: BTreeMap<IpAddr, u64> = BTreeMap::new();
    let peers = case.topology.traffic.iter().flat_map(|traffic| &traffic.peers);
    for undelivered in peers.flat_map(|peer| &peer.undelivered) {
        *asked.entry(undelivered.address).or_default() += undelivered.packets;
    }
    let asked = asked.into_iter().filter(|(_, packets)| *packets >= ENOUGH);
    asked
        .filter(|(address, _)| may_be_pod(case, *address))
        .filter_map(|(address, packets)| {
            let entry = unresolved(case, bridge, address)?;
            Some(DeadPod { address, packets, entry, bridge })
        })
        .collect()
}

/// An address of the node's pod network that is none of the node's own: these are the network's
/// first two, of the overlay device and of the bridge. Nor is its last one, of broadcasts.
fn may_be_pod(case: &Case<'_>, address: IpAddr) -> bool {
    let is_for_pods = |cidr: &IpNet| {
        let reserved = [cidr.network(), nth_address(*cidr, 1), cidr.broadcast()];
        cidr.contains(&address) && !reserved.contains(&address)
    };
    let is_local = case.topology.tables.is_some_and(|tables| tables.is_local(address));
    !is_local && case.topology.own_cidrs.iter().any(is_for_pods)
}

fn unresolved<'a>(case: &Case<'a>, bridge: &Link, address: IpAddr) -> Option<&'a Neighbour> {
    let mut entries = case.topology.tables?.neighbours.iter();
    let entry = entries.find(|it| it.ifindex == bridge.index && it.address == address)?;
    matches!(entry.state, NeighbourState::Failed | NeighbourState::Incomplete).then_some(entry)
}

impl DeadPod<'_> {
    /// What shows it.
    pub(super) fn told(&self, seconds: f64) -> String {
        let state = format!("{:?}", self.entry.state).to_uppercase();
        format!(
            "{} packets came for {} in {seconds:.1} s, and nobody answers for it: the neighbour entry \
             of {} is {state}",
            self.packets, self.address, self.bridge.name
        )
    }
}
