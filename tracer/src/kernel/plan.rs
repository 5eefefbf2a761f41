//! What to attach where, and what to tell the programs: pure, from the topologies.

mod configure;
mod vips;

use std::num::NonZeroU32;

use ipnet::IpNet;
use tracer_common::{
    config::Config,
    names,
    peer::{FIRST_PEER, SLOTS},
};

use self::configure::configure;
pub use self::vips::plan_vips;
use crate::{
    evidence::{HookDirection, Link, Tables},
    topology::Topologies,
};

/// Everything that a session needs to know of the node.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The programs' read-only configuration.
    pub config: Config,
    /// Pod CIDRs of peers in the order of their slots, the first at [`FIRST_PEER`].
    pub peers: Vec<IpNet>,
    /// Pod CIDRs of this node.
    pub own: Vec<IpNet>,
    /// Where programs go.
    pub hooks: Vec<PlannedHook>,
    /// One packet in so many of each stage is sampled, and the first of every anomaly; `None` for
    /// no samples at all.
    pub sample: Option<NonZeroU32>,
    /// What does not fit, in whole sentences.
    pub unseen: Vec<String>,
}

/// One place for one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHook {
    /// Device name.
    pub interface: String,
    /// Device number.
    pub ifindex: u32,
    /// Side of the device.
    pub direction: HookDirection,
    /// Program in the object.
    pub program: &'static str,
}

impl Plan {
    /// Whether an uplink has no Ethernet header.
    pub(super) fn has_layer3(&self) -> bool {
        self.hooks.iter().any(|hook| names::is_layer3(hook.program))
    }
}

impl PlannedHook {
    /// Whether both are the same program on the same side of the same device, whatever its name.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        (self.ifindex, self.direction, self.program)
            == (other.ifindex, other.direction, other.program)
    }
}

/// Plans the hooks of a node. Devices that do not exist get none.
#[must_use]
pub fn plan(topologies: &Topologies<'_>, tables: &Tables) -> Plan {
    let mut unseen = Vec::new();
    let config = configure(topologies, tables, &mut unseen);
    let mut peers: Vec<IpNet> = topologies.peers().map(|peer| peer.cidr).collect();
    let room = (SLOTS - FIRST_PEER) as usize;
    if peers.len() > room {
        unseen.push(format!("packets of {} peers one by one: only {room} fit", peers.len()));
        peers.truncate(room);
    }
    let hooks = hooks(topologies, &mut unseen);
    Plan { config, peers, own: topologies.own_cidrs(), hooks, sample: None, unseen }
}

fn hooks(topologies: &Topologies<'_>, unseen: &mut Vec<String>) -> Vec<PlannedHook> {
    let mut hooks = Vec::new();
    if let Some(bridge) = topologies.bridge() {
        hooks.extend(both(bridge, names::POD_OUT, names::POD_IN, HookDirection::Ingress));
    }
    for overlay in topologies.overlays() {
        hooks.extend(both(overlay, names::OVERLAY_OUT, names::OVERLAY_IN, HookDirection::Egress));
    }
    for uplink in topologies.uplinks() {
        let (out, into) = match (uplink.mac, uplink.layer3) {
            (Some(_), _) => (names::WIRE_OUT, names::WIRE_IN),
            (None, true) => (names::WIRE_OUT_L3, names::WIRE_IN_L3),
            (None, false) => {
                unseen.push(format!(
                    "packets on {}: neither Ethernet nor IP without a link-layer header",
                    uplink.name
                ));
                continue;
            }
        };
        hooks.extend(both(uplink, out, into, HookDirection::Egress));
    }
    hooks
}

/// Both hooks of a device; `out_at` is its side on which packets on their way out are seen.
fn both(
    link: &Link,
    out: &'static str,
    into: &'static str,
    out_at: HookDirection,
) -> [PlannedHook; 2] {
    let into_at = match out_at {
        HookDirection::Ingress => HookDirection::Egress,
        HookDirection::Egress => HookDirection::Ingress,
    };
    [(out, out_at), (into, into_at)].map(|(program, direction)| PlannedHook {
        interface: link.name.clone(),
        ifindex: link.index,
        direction,
        program,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::testing::{Pass, Plan as Cluster, UPLINK, tables};

    fn planned(change: impl Fn(&mut Link)) -> Plan {
        let mut evidence = Cluster::of(3, Pass::Tables).evidence();
        let links = &mut tables(&mut evidence).links;
        change(links.iter_mut().find(|link| link.index == UPLINK).unwrap());
        plan(&Topologies::of(&evidence), evidence.tables.as_ref().unwrap())
    }

    fn on_uplink(plan: &Plan) -> Vec<&str> {
        plan.hooks.iter().filter(|it| it.ifindex == UPLINK).map(|it| it.program).collect()
    }

    #[test]
    fn the_link_layer_of_an_uplink_decides_its_programs() {
        let ethernet = planned(|_| {});
        assert_eq!(on_uplink(&ethernet), [names::WIRE_OUT, names::WIRE_IN]);
        let bare = planned(|link| (link.mac, link.layer3) = (None, true));
        assert_eq!(on_uplink(&bare), [names::WIRE_OUT_L3, names::WIRE_IN_L3]);
        assert_eq!(bare.unseen, [""; 0]);
        let infiniband = planned(|link| link.mac = None);
        assert_eq!(on_uplink(&infiniband), [""; 0]);
        assert!(infiniband.unseen[0].starts_with("packets on eth0:"), "{:?}", infiniband.unseen);
    }
}
