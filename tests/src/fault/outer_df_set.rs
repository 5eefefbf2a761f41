//! Somebody has the overlay device forbid fragments, and the uplink became smaller: full packets of
//! pods would end in the node. The pods of the lab take the smaller MTU at once, so that nothing is
//! lost.
//!
//! In IPv4 only: the setting concerns no outer packet of IPv6 (vxlan_xmit_one() in
//! drivers/net/vxlan/vxlan_core.c, Linux 6.18). flannel's device for IPv6 is made to fit, so that it
//! has no fault of its own.

use super::{Fault, PLAIN, Reach, Subject, pod_mtu_larger_than_tunnel::set_mtus};
use crate::{
    plan::{Family, Plan, Site},
    script::Script,
};

/// By how much the uplink is smaller, bytes.
const SMALLER: u32 = 100;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "outer-df-set",
    code: "outer-df-set",
    summary: "the tunnel forbids fragments and is too large for the uplink",
    subject: Subject::Overlay,
    reach: Reach::Nobody,
    families: &[Family::V4],
    breaks: |plan, site| set(plan, site, "set", SMALLER),
    heals: |plan, site| set(plan, site, "unset", 0),
    ..PLAIN
}];

fn set(plan: &Plan, site: Site, df: &str, smaller: u32) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    let overlay = plan.overlay(site.family);
    let uplink = format!("link set {} mtu {}", victim.uplink, plan.lan.mtu - smaller);
    let others = plan.families().iter().filter(|family| **family != site.family).map(|family| {
        format!("link set {} mtu {}", plan.overlay(*family), plan.overlay_mtu(*family) - smaller)
    });
    // The kernel lets no device grow beyond the one below it.
    let lines = std::iter::once(uplink)
        .chain([format!("link set {overlay} type vxlan df {df}")])
        .chain(others);
    let mut scripts = vec![Script::ip(&victim.namespace, lines)];
    scripts.extend(set_mtus(plan, site, plan.pod_mtu() - smaller));
    scripts
}
