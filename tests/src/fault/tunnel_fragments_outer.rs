//! The uplink became smaller after flannel had made its device: full packets leave in fragments, and
//! arrive.

use super::{Fault, PLAIN, Reach, Severity, Strikes, Subject};
use crate::{
    plan::{Plan, Site},
    script::Script,
};

/// By how much, bytes.
const SMALLER: u32 = 100;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "tunnel-fragments-outer",
    code: "tunnel-fragments-outer",
    summary: "the uplink's MTU was lowered below what the tunnel needs",
    severity: Severity::Warning,
    subject: Subject::Overlay,
    reach: Reach::Nobody,
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| set_mtu(plan, site, plan.lan.mtu - SMALLER),
    heals: |plan, site| set_mtu(plan, site, plan.lan.mtu),
    ..PLAIN
}];

fn set_mtu(plan: &Plan, site: Site, mtu: u32) -> Vec<Script> {
    let victim = &plan.nodes[site.victim];
    vec![Script::ip(&victim.namespace, [format!("link set {} mtu {mtu}", victim.uplink)])]
}
