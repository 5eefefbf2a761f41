use serde::{Deserialize, Serialize};

/// A place on the path where a packet was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Bridge ingress: from a local pod.
    PodOut,
    /// Overlay device egress: about to be encapsulated.
    OverlayOut,
    /// Uplink egress, encapsulated: handed to the uplink's queue.
    WireOut,
    /// Uplink ingress, encapsulated.
    WireIn,
    /// Overlay device ingress: decapsulated.
    OverlayIn,
    /// Bridge egress: to a local pod.
    PodIn,
}

impl Stage {
    /// All stages, in the order of a packet's way out and then in.
    pub const ALL: [Self; 6] =
        [Self::PodOut, Self::OverlayOut, Self::WireOut, Self::WireIn, Self::OverlayIn, Self::PodIn];

    /// The name in the contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PodOut => "pod_out",
            Self::OverlayOut => "overlay_out",
            Self::WireOut => "wire_out",
            Self::WireIn => "wire_in",
            Self::OverlayIn => "overlay_in",
            Self::PodIn => "pod_in",
        }
    }
}

/// Two neighbouring stages of this node between which packets can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StagePair {
    /// From the pod to the overlay device: routing, policy, host firewall.
    PodToOverlay,
    /// From the overlay device to the uplink: neighbour, FDB, encapsulation, underlay route.
    OverlayToWire,
    /// From the uplink to the overlay device: VNI, port owner, firewall on the tunnel port.
    WireToOverlay,
    /// From the overlay device to the pod: wrong VTEP MAC, forwarding, local pod route.
    OverlayToPod,
    /// From this node's uplink to the peer's answer: underlay or peer.
    WireToPeer,
}

impl StagePair {
    /// The pairs whose two ends are both on this node.
    pub const LOCAL: [Self; 4] =
        [Self::PodToOverlay, Self::OverlayToWire, Self::WireToOverlay, Self::OverlayToPod];

    /// The last stage that saw a packet lost in this pair.
    #[must_use]
    pub const fn last_seen(self) -> Stage {
        match self {
            Self::PodToOverlay => Stage::PodOut,
            Self::OverlayToWire => Stage::OverlayOut,
            Self::WireToOverlay => Stage::WireIn,
            Self::OverlayToPod => Stage::OverlayIn,
            Self::WireToPeer => Stage::WireOut,
        }
    }

    /// The stage that should have seen it next; `None` when that lies on the peer.
    #[must_use]
    pub const fn next(self) -> Option<Stage> {
        match self {
            Self::PodToOverlay => Some(Stage::OverlayOut),
            Self::OverlayToWire => Some(Stage::WireOut),
            Self::WireToOverlay => Some(Stage::OverlayIn),
            Self::OverlayToPod => Some(Stage::PodIn),
            Self::WireToPeer => None,
        }
    }
}

/// Packets (segments) by stage.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCounts {
    /// See [`Stage::PodOut`].
    pub pod_out: u64,
    /// See [`Stage::OverlayOut`].
    pub overlay_out: u64,
    /// See [`Stage::WireOut`].
    pub wire_out: u64,
    /// See [`Stage::WireIn`].
    pub wire_in: u64,
    /// See [`Stage::OverlayIn`].
    pub overlay_in: u64,
    /// See [`Stage::PodIn`].
    pub pod_in: u64,
}

impl StageCounts {
    /// Packets seen at `stage`.
    #[must_use]
    pub const fn at(&self, stage: Stage) -> u64 {
        match stage {
            Stage::PodOut => self.pod_out,
            Stage::OverlayOut => self.overlay_out,
            Stage::WireOut => self.wire_out,
            Stage::WireIn => self.wire_in,
            Stage::OverlayIn => self.overlay_in,
            Stage::PodIn => self.pod_in,
        }
    }

    /// The counter of `stage`, to be filled in.
    pub const fn at_mut(&mut self, stage: Stage) -> &mut u64 {
        match stage {
            Stage::PodOut => &mut self.pod_out,
            Stage::OverlayOut => &mut self.overlay_out,
            Stage::WireOut => &mut self.wire_out,
            Stage::WireIn => &mut self.wire_in,
            Stage::OverlayIn => &mut self.overlay_in,
            Stage::PodIn => &mut self.pod_in,
        }
    }
}
