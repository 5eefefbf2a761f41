//! The overlay device lost its address, and with it its routes and neighbours; the FDB stays.
//!
//! In IPv4 only: there the kernel clears a device that has lost its last address. In IPv6 the device
//! keeps its link-local address and all entries, and pods go on talking.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{flannel, plan::Family, script::Script};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-address-missing",
    code: "flannel-address-missing",
    summary: "the address of the overlay device is removed",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    families: &[Family::V4],
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let end = victim.end(site.family);
        let line = format!("addr del {}/32 dev {}", end.flannel_ip(), plan.overlay(site.family));
        vec![Script::ip(&victim.namespace, [line])]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = flannel::address(plan, victim, site.family);
        let mut scripts = vec![Script::ip(&victim.namespace, [line])];
        scripts.extend(flannel::peers(plan, victim, site.family));
        scripts
    },
    ..PLAIN
}];
