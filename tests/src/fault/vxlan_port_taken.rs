//! The overlay device is down and another plugin's VXLAN device holds its UDP port.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{flannel, lan::up, script::Script};

/// As cilium calls it; `external` devices share their port with no other.
const OTHER: &str = "cilium_vxlan";

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "vxlan-port-taken-by-other-cni",
    code: "vxlan-port-taken-by-other-cni",
    summary: "the overlay device is down, and another plugin's device has taken its UDP port",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let lines = [
            format!("link set {} down", plan.overlay()),
            format!("link add {OTHER} type vxlan external dstport {}", plan.port),
            up(OTHER),
        ];
        vec![Script::ip(&plan.nodes[site.victim].namespace, lines)]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let lines = [format!("link del {OTHER}"), up(&plan.overlay())];
        let mut scripts = vec![Script::ip(&victim.namespace, lines)];
        scripts.extend(flannel::peers(plan, victim));
        scripts
    },
    ..PLAIN
}];
