//! The overlay device lost its address, and with it its routes and neighbours; the FDB stays.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{flannel, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-address-missing",
    code: "flannel-address-missing",
    summary: "the address of the overlay device is removed",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = format!("addr del {}/32 dev {}", victim.flannel_ip(), plan.overlay());
        vec![Script::ip(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = format!("addr add {}/32 dev {}", victim.flannel_ip(), plan.overlay());
        let mut scripts = vec![Script::ip(&victim.namespace, [line])];
        scripts.extend(flannel::peers(plan, victim));
        scripts
    },
    ..PLAIN
}];
