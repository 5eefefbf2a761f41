//! The default route is gone: pods reach each other, and nothing outside.

use super::{Fault, PLAIN, Reach, Severity, Subject};
use crate::{node, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "default-route-missing",
    code: "default-route-missing",
    summary: "the default route is deleted",
    severity: Severity::Warning,
    subject: Subject::Uplink,
    reach: Reach::Nobody,
    there: &[],
    breaks: |plan, site| {
        let line = node::no_default_route(site.family);
        vec![Script::ip(&plan.nodes[site.victim].namespace, [line])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        vec![Script::ip(&victim.namespace, [node::default_route(plan, victim, site.family)])]
    },
    ..PLAIN
}];
