//! What a session sampled, and what is needed to read it.

use tracer_common::names;

use super::Session;
use crate::kernel::samples::{Sample, Samples};

impl Session {
    /// Why no packets are sampled, though they were asked for: a line for what is unseen.
    #[must_use]
    pub fn unsampled(&self) -> Option<String> {
        self.unsampled.as_ref().map(|because| format!("samples of packets: {because}"))
    }

    /// The samples that were taken since the last call.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        self.samples.as_mut().map(Samples::take).unwrap_or_default()
    }

    /// UDP ports to which VXLAN may go, of this node's tunnels or of others'.
    #[must_use]
    pub fn tunnel_ports(&self) -> [u16; 4] {
        let ports = [self.config.v4.vxlan_port(), self.config.v6.vxlan_port()].map(u16::from_be);
        [ports[0], ports[1], 4789, 8472]
    }

    /// Whether packets at a device begin with an Ethernet header.
    #[must_use]
    pub fn has_ethernet(&self, ifindex: u32) -> bool {
        let bare = [names::WIRE_OUT_L3, names::WIRE_IN_L3];
        !self.places.planned().any(|it| it.ifindex == ifindex && bare.contains(&it.program))
    }
}
