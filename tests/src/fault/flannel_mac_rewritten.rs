//! The overlay device gets another MAC, as udev and systemd-networkd give it: the kernel removes its
//! neighbours, and what the peers send is for another host.

use super::{Fault, PLAIN, Reach, Subject};
use crate::{
    flannel,
    plan::{Mac, Plan, Site},
    script::Script,
};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-mac-rewritten",
    code: "flannel-mac-rewritten",
    summary: "the overlay device gets another MAC",
    subject: Subject::Overlay,
    reach: Reach::AllPeers,
    breaks: |plan, site| {
        let Mac([.., last]) = plan.nodes[site.victim].vtep_mac.of(site.family);
        vec![set(plan, site, Mac([0x02, 0x00, 0x5e, 0x00, 0x53, last]))]
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let mut scripts = vec![set(plan, site, victim.vtep_mac.of(site.family))];
        scripts.extend(flannel::peers(plan, victim, site.family));
        scripts
    },
    ..PLAIN
}];

fn set(plan: &Plan, site: Site, mac: Mac) -> Script {
    let line = format!("link set {} address {mac}", plan.overlay(site.family));
    Script::ip(&plan.nodes[site.victim].namespace, [line])
}
