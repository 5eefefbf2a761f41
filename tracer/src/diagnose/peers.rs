//! The verdict on each peer.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{case::Case, finding::Severity, life, merge::Cause};
use crate::{
    evidence::{MacAddress, Stage, StageCounts},
    topology::Peer,
};

/// What is known of one peer after judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerVerdict {
    /// Its pod CIDR.
    pub cidr: IpNet,
    /// Its node address.
    pub node_ip: Option<IpAddr>,
    /// Its node name.
    pub name: Option<String>,
    /// The MAC of its overlay device.
    pub vtep_mac: Option<MacAddress>,
    /// Packets in the window.
    pub packets: StageCounts,
    /// The verdict.
    pub state: PeerState,
    /// Whether its node shows life; `None` where nothing tells.
    pub alive: Option<bool>,
}

/// How a peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// Packets went both ways, and no critical finding concerns it.
    Ok,
    /// A critical finding concerns it.
    Broken,
    /// Packets left for it and none came.
    OneWayOut,
    /// Packets came from it and none left.
    OneWayIn,
    /// No packets: nothing is known.
    Unverified,
}

/// The verdicts, in the order of CIDRs.
pub(super) fn verdicts(case: &Case<'_>, causes: &[&Cause]) -> Vec<PeerVerdict> {
    let concerned = |peer: &&Peer<'_>| peer.is_known() || is_broken(peer, causes);
    case.topology.peers.iter().filter(concerned).map(|peer| verdict(case, peer, causes)).collect()
}

fn verdict(case: &Case<'_>, peer: &Peer<'_>, causes: &[&Cause]) -> PeerVerdict {
    let packets = peer.traffic.map(|traffic| traffic.packets).unwrap_or_default();
    let state = if is_broken(peer, causes) { PeerState::Broken } else { by_traffic(case, packets) };
    PeerVerdict {
        cidr: peer.cidr,
        node_ip: peer.node_ip,
        name: peer.name.map(str::to_owned),
        vtep_mac: peer.vtep_mac,
        packets,
        state,
        alive: life::of(case, peer).is_alive,
    }
}

/// A critical finding, of this peer or of the whole node, explains what happens to it.
fn is_broken(peer: &Peer<'_>, causes: &[&Cause]) -> bool {
    causes
        .iter()
        .filter(|cause| cause.judged.finding.severity == Severity::Critical)
        .flat_map(|cause| &cause.judged.explains)
        .any(|effect| effect.cidr() == Some(peer.cidr))
}

/// The uplink tells both ways; where it is not observed, the overlay device does.
fn by_traffic(case: &Case<'_>, packets: StageCounts) -> PeerState {
    let out = if case.sees_all(Stage::WireOut) { packets.wire_out } else { packets.overlay_out };
    let inward = if case.sees_all(Stage::OverlayIn) { packets.overlay_in } else { packets.wire_in };
    match (out > 0, inward > 0) {
        (true, true) => PeerState::Ok,
        (true, false) => PeerState::OneWayOut,
        (false, true) => PeerState::OneWayIn,
        (false, false) => PeerState::Unverified,
    }
}

impl PeerState {
    /// The name in the contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Broken => "broken",
            Self::OneWayOut => "one-way-out",
            Self::OneWayIn => "one-way-in",
            Self::Unverified => "unverified",
        }
    }
}
