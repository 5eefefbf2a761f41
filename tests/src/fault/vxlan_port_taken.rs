//! The overlay device is down and another plugin's VXLAN device holds its UDP port.

use super::{Fault, PLAIN, Reach, Subject, up_again};
use crate::{
    lan::up,
    plan::{Family, Plan, Site, Stack},
    script::Script,
};

/// As cilium calls it.
const OTHER: &str = "cilium_vxlan";

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "vxlan-port-taken-by-other-cni",
    code: "vxlan-port-taken-by-other-cni",
    summary: "the overlay device is down, and another plugin's device has taken its UDP port",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    there: &["peer-vtep-not-listening", "tunnel-one-way"],
    breaks: |plan, site| {
        let lines = [
            format!("link set {} down", plan.overlay(site.family)),
            format!("link add {OTHER} type vxlan {} dstport {}", kind(plan, site), plan.port),
            up(OTHER),
        ];
        vec![Script::ip(&plan.nodes[site.victim].namespace, lines)]
    },
    heals: |plan, site| {
        let remove = Script::ip(&plan.nodes[site.victim].namespace, [format!("link del {OTHER}")]);
        [vec![remove], up_again(plan, site)].concat()
    },
    ..PLAIN
}];

/// A device that shares its port with no other: an `external` one has the port in both families, one
/// with `gbp` in that of its address, and leaves the other to flannel.
fn kind(plan: &Plan, site: Site) -> String {
    match (plan.stack, site.family) {
        (Stack::V4, Family::V4) => "external".to_owned(),
        (_, family) => {
            let victim = &plan.nodes[site.victim];
            format!("id 4095 local {} dev {} gbp", victim.ip.of(family), victim.uplink)
        }
    }
}
