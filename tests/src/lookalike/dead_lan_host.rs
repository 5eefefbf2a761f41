//! A machine of the LAN that is off and is no node: the nodes ask for it in vain.

use std::net::Ipv4Addr;

use super::{LookAlike, PLAIN, steady};
use crate::{plan::Plan, traffic::Flow};

pub(super) const LOOK_ALIKES: [LookAlike; 1] = [LookAlike {
    name: "dead-lan-host",
    summary: "every node calls a machine of the LAN that does not answer ARP and is no node",
    traffic: |plan| {
        let ping = || Flow::Ping { to: nobody(plan), ttl: 64 };
        plan.nodes.iter().map(|node| steady(&node.namespace, ping(), 5.0)).collect()
    },
    ..PLAIN
}];

/// An address of the LAN that no plan gives to anybody.
fn nobody(plan: &Plan) -> Ipv4Addr {
    let [a, b, c, _] = plan.lan.network.network().octets();
    Ipv4Addr::new(a, b, c, 8)
}
