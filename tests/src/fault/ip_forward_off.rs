//! Forwarding is off, on the whole node or on one device: the kernel drops pod packets without a
//! word.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{
    plan::{Node, Plan, Site},
    script::{Script, Tool},
};

const MODEL: Fault = Fault {
    name: "ip-forward-off",
    code: "ip-forward-off",
    summary: "net.ipv4.ip_forward is 0",
    subject: Subject::Bridge,
    reach: Reach::AllPeers,
    alone: true,
    // The node itself still uses the tunnel, so something comes back from it.
    there: &["unexplained-loss", "tunnel-one-way"],
    breaks: |plan, site| set(plan, site, |_, _| "ip_forward".to_owned(), 0),
    heals: |plan, site| set(plan, site, |_, _| "ip_forward".to_owned(), 1),
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 3] = [
    MODEL,
    Fault {
        name: "ip-forward-off-bridge",
        summary: "forwarding is off on the bridge: pods cannot send",
        breaks: |plan, site| set(plan, site, of_bridge, 0),
        heals: |plan, site| set(plan, site, of_bridge, 1),
        ..MODEL
    },
    Fault {
        name: "ip-forward-off-overlay",
        summary: "forwarding is off on the overlay device: nothing reaches the pods",
        subject: Subject::Overlay,
        breaks: |plan, site| set(plan, site, of_overlay, 0),
        heals: |plan, site| set(plan, site, of_overlay, 1),
        ..MODEL
    },
];

fn of_bridge(_: &Plan, node: &Node) -> String {
    format!("conf/{}/forwarding", node.bridge)
}

fn of_overlay(plan: &Plan, _: &Node) -> String {
    format!("conf/{}/forwarding", plan.overlay())
}

/// Writes a setting of the victim's own namespace.
fn set(plan: &Plan, site: Site, of: fn(&Plan, &Node) -> String, value: u8) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let line = format!("ipv4/{}={value}", of(plan, victim));
    vec![Script::new(Tool::Sysctl, Some(&victim.namespace), [line])]
}
