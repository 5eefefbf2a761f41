//! A machine of the LAN that is off and is no node: the nodes ask for it in vain.

use super::{LookAlike, PLAIN, steady};
use crate::{lan, plan::Family, traffic::Flow};

/// The last part of an address of the LAN that no plan gives to anybody.
const NOBODY: u8 = 8;

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "dead-lan-host",
    summary: "every node calls a machine of the LAN that does not answer ARP and is no node",
    traffic: |plan| {
        let ping = || Flow::Ping { to: lan::host(plan, NOBODY).of(Family::V4), ttl: 64 };
        plan.nodes.iter().map(|node| steady(&node.namespace, ping(), 5.0)).collect()
    },
    ..PLAIN
}];
