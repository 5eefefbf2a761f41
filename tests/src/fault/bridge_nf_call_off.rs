//! iptables does not see what the victim's pods send each other: a service with a pod on the same
//! node fails, which no stage sees.

use super::{Fault, PLAIN, Reach, Severity, Subject};
use crate::{
    plan::{Family, Plan, Site},
    script::{Script, Tool},
};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "bridge-nf-call-off",
    code: "bridge-nf-call-off",
    summary: "net.bridge.bridge-nf-call-iptables is 0",
    severity: Severity::Warning,
    subject: Subject::Bridge,
    reach: Reach::Nobody,
    alone: true,
    families: &[Family::V4],
    breaks: |plan, site| set(plan, site, 0),
    heals: |plan, site| set(plan, site, 1),
    ..PLAIN
}];

fn set(plan: &Plan, site: Site, value: u8) -> Vec<Script> {
    let line = format!("bridge/bridge-nf-call-iptables={value}");
    vec![Script::new(Tool::Sysctl, Some(&plan.nodes[site.victim].namespace), [line])]
}
