//! Forwarding is off, on the whole node or on one device: the kernel drops pod packets without a
//! word.
//!
//! On one device in IPv4 only: IPv6 asks the node's own setting, and a device's says whether the node
//! is a router there (ip6_forward() in net/ipv6/ip6_output.c, Linux 6.18).

use super::{Fault, PLAIN, Reach, Subject};
use crate::{
    node,
    plan::{Family, Plan, Site},
    script::{Script, Tool},
};

const MODEL: Fault = Fault {
    name: "ip-forward-off",
    code: "ip-forward-off",
    summary: "forwarding is off: net.ipv4.ip_forward, or net.ipv6.conf.all.forwarding, is 0",
    subject: Subject::Bridge,
    reach: Reach::AllPeers,
    alone: true,
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| set(plan, site, node::forwarding(site.family), 0),
    heals: |plan, site| set(plan, site, node::forwarding(site.family), 1),
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "ip-forward-off-bridge",
        summary: "forwarding is off on the bridge: pods cannot send",
        families: &[Family::V4],
        breaks: |plan, site| on_device(plan, site, &plan.nodes[site.victim].bridge, 0),
        heals: |plan, site| on_device(plan, site, &plan.nodes[site.victim].bridge, 1),
        ..MODEL
    },
    Fault {
        name: "ip-forward-off-overlay",
        summary: "forwarding is off on the overlay device: nothing reaches the pods",
        families: &[Family::V4],
        subject: Subject::Overlay,
        breaks: |plan, site| on_device(plan, site, &plan.overlay(site.family), 0),
        heals: |plan, site| on_device(plan, site, &plan.overlay(site.family), 1),
        ..MODEL
    },
];

fn on_device(plan: &Plan, site: Site, device: &str, value: u8) -> Vec<Script> {
    set(plan, site, &format!("ipv4/conf/{device}/forwarding"), value)
}

/// Writes a setting of the victim's own namespace.
fn set(plan: &Plan, site: Site, setting: &str, value: u8) -> Vec<Script> {
    let line = format!("{setting}={value}");
    vec![Script::new(Tool::Sysctl, Some(&plan.nodes[site.victim].namespace), [line])]
}
