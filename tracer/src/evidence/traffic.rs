use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{MacAddress, Sighting, Stage, StageCounts, StagePair};

/// What the stages counted in the window. Totals and peers are exact; flows are a lower bound.
///
/// "Early" values are those of a read in the middle of the window: a rule judges a loss only when
/// both reads agree.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Exact totals by stage.
    pub stages: StageTotals,
    /// Exact counts by peer.
    pub peers: Vec<PeerTraffic>,
    /// VXLAN senders whose pod CIDR no table or intent knew when the window began.
    pub strangers: Vec<Stranger>,
    /// The flows with most packets, at most 1,000.
    pub flows: Vec<Flow>,
    /// Flows that were seen and are not listed.
    pub flows_left_out: u64,
    /// Packets by stage that no flow holds: exact total minus the sum of all flows.
    pub other: StageCounts,
    /// Packets that tell by themselves what is wrong, most first, at most 1,000.
    #[serde(default)]
    pub sightings: Vec<Sighting>,
    /// Sightings that are not listed.
    #[serde(default)]
    pub sightings_left_out: u64,
    /// What pods sent to addresses outside the pod network that nothing translates, as far as the
    /// kernel was asked.
    #[serde(default)]
    pub untranslated: Vec<Untranslated>,
    /// Parse errors in the window.
    pub parse_errors: Vec<ParseErrors>,
    /// The tracer's own losses and detours in the window.
    pub own: SelfCounters,
}

/// Packets and bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Segments.
    pub packets: u64,
    /// Inner bytes as seen; never compared between stages.
    pub bytes: u64,
}

/// Exact totals by stage.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTotals {
    /// See [`Stage::PodOut`].
    pub pod_out: Count,
    /// See [`Stage::OverlayOut`].
    pub overlay_out: Count,
    /// See [`Stage::WireOut`].
    pub wire_out: Count,
    /// See [`Stage::WireIn`].
    pub wire_in: Count,
    /// See [`Stage::OverlayIn`].
    pub overlay_in: Count,
    /// See [`Stage::PodIn`].
    pub pod_in: Count,
    /// Packets for the pod network that left an uplink un-encapsulated.
    pub leak: Count,
    /// The part of `overlay_out` that the node itself sent.
    pub host: Count,
    /// Later fragments of inner packets, by no stage compared.
    pub fragments: Count,
}

/// Exact counts of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTraffic {
    /// The peer's pod CIDR.
    pub cidr: IpNet,
    /// Packets in the window.
    pub packets: StageCounts,
    /// Packets until the read in the middle.
    pub early: StageCounts,
    /// Of these those that are large; `None` in evidence of before they were counted.
    #[serde(default)]
    pub large: Option<LargePackets>,
    /// Packets for it that left an uplink un-encapsulated.
    pub leaked: u64,
    /// Packets of that kind until the read in the middle.
    pub leaked_early: u64,
    /// Packets that certainly died between two stages, see [`Losses`].
    pub lost: Losses,
    /// Packets that certainly died between two stages until the read in the middle.
    pub lost_early: Losses,
    /// Of `packets.wire_out` those of pods of this node that ask for an answer: TCP, echo requests,
    /// DNS queries.
    pub asking_out: u64,
    /// Of `asking_out` those of flows that an answer came to; of TCP only where this side opened the
    /// connection. `None` in evidence of before it was counted.
    #[serde(default)]
    pub answered: Option<u64>,
    /// How many of its addresses gave no answer to a flow that asked all the time.
    #[serde(default)]
    pub addresses_silent: u64,
    /// How many of its addresses were asked.
    pub addresses_asked: u64,
    /// Addresses of this node for which more came out of the tunnel than went to a pod.
    pub undelivered: Vec<Undelivered>,
    /// Outer source address of VXLAN received from it.
    pub outer_source: Option<IpAddr>,
    /// Inner Ethernet source of VXLAN received from it: its VTEP MAC.
    pub inner_source_mac: Option<MacAddress>,
    /// Outer Ethernet source of VXLAN received from it: the MAC of its node, or of a router. `None`
    /// where CPUs saw different ones, by an uplink without Ethernet, and in evidence of before it was
    /// read.
    #[serde(default)]
    pub outer_source_mac: Option<MacAddress>,
}

/// Encapsulated packets of more than some 1280 bytes ([`tracer_common::stage::large_at`]).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargePackets {
    /// Those that left, in the window.
    pub wire_out: u64,
    /// The same until the read in the middle.
    pub wire_out_early: u64,
    /// Those that came in, in the window.
    pub wire_in: u64,
}

/// An address of this node that packets of a peer did not reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// The inner destination.
    pub address: IpAddr,
    /// Packets at overlay_in that are missing at pod_in, by the flow table.
    pub packets: u64,
}

/// Packets that died between two stages, counted so that packets in flight at the moment of a
/// read are never among them: a lower bound.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// See [`StagePair::PodToOverlay`].
    pub pod_to_overlay: u64,
    /// See [`StagePair::OverlayToWire`].
    pub overlay_to_wire: u64,
    /// See [`StagePair::WireToOverlay`].
    pub wire_to_overlay: u64,
    /// See [`StagePair::OverlayToPod`]; only packets whose destination is a pod of this node.
    pub overlay_to_pod: u64,
    /// See [`StagePair::WireToPeer`]: packets of flows that asked for an answer and got none.
    #[serde(default)]
    pub wire_to_peer: u64,
}

/// Flows of pods to one port that the kernel's table of connections has under the address that they
/// were sent to: they have passed all of netfilter, and it is the address by which they went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untranslated {
    /// Where to.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port.
    pub port: u16,
    /// Flows, a lower bound.
    pub flows: u64,
    /// Their packets in the window, a lower bound.
    pub packets: u64,
}

/// A VXLAN sender whose pod CIDR nothing knew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// Inner source address of one of its packets.
    pub inner_source: IpAddr,
    /// Outer source: its node address.
    pub outer_source: IpAddr,
    /// Packets received from it, by the flow table (a lower bound).
    pub packets: u64,
}

/// Protocols whose packets begin with ports: TCP, UDP, SCTP (IANA's numbers).
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// Whether packets of an IP protocol have ports: what stands there in others is something else, as an
/// ICMP message's type.
#[must_use]
pub fn has_ports(protocol: u8) -> bool {
    WITH_PORTS.contains(&protocol)
}

/// One inner flow, one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port; for ICMP the message's type.
    pub source_port: u16,
    /// Destination port; for ICMP echo its identifier.
    pub destination_port: u16,
    /// Packets in the window.
    pub packets: StageCounts,
    /// Packets that left an uplink un-encapsulated.
    pub leaked: u64,
    /// First seen inside the window, or evicted and seen again: never compared between stages.
    pub born_in_window: bool,
    /// Outer source of its packets at wire_in.
    pub outer_source: Option<IpAddr>,
    /// Where the packets really go when the destination is a service's (conntrack).
    #[serde(default)]
    pub translated_destination: Option<IpAddr>,
    /// The port there, where the packets can be followed: under its source and that destination
    /// they are the same flow at the next stages. `None` where their source is translated too, and
    /// where the table of connections did not say the same in the middle and at the end of the
    /// window.
    #[serde(default)]
    pub translated_port: Option<u16>,
    /// The service's address and port to which the pod sent, where already the first stage saw the
    /// packets under those of a pod behind it: iptables translates what the bridge hands to it.
    #[serde(default)]
    pub asked_as: Option<SocketAddr>,
}

/// Parse errors of one kind at one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseErrors {
    /// Where.
    pub stage: Stage,
    /// Which, by the parser's name.
    pub kind: String,
    /// How many.
    pub packets: u64,
}

/// The tracer's own losses and detours.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfCounters {
    /// Packets that could not be parsed.
    pub parse_errors: u64,
    /// Packets read by copy because their linear part ended too early.
    pub slow_parse: u64,
    /// Events that did not fit into the ring buffer.
    pub events_lost: u64,
    /// Flow entries pushed out by newer ones.
    pub flow_evictions: u64,
    /// Inserts that a map refused.
    pub map_insert_failures: u64,
}

impl StageTotals {
    /// The total of `stage`.
    #[must_use]
    pub const fn at(&self, stage: Stage) -> Count {
        match stage {
            Stage::PodOut => self.pod_out,
            Stage::OverlayOut => self.overlay_out,
            Stage::WireOut => self.wire_out,
            Stage::WireIn => self.wire_in,
            Stage::OverlayIn => self.overlay_in,
            Stage::PodIn => self.pod_in,
        }
    }
}

impl Losses {
    /// Packets lost in `pair`.
    #[must_use]
    pub const fn at(&self, pair: StagePair) -> u64 {
        match pair {
            StagePair::PodToOverlay => self.pod_to_overlay,
            StagePair::OverlayToWire => self.overlay_to_wire,
            StagePair::WireToOverlay => self.wire_to_overlay,
            StagePair::OverlayToPod => self.overlay_to_pod,
            StagePair::WireToPeer => self.wire_to_peer,
        }
    }
}
