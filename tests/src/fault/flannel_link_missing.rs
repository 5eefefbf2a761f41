//! The overlay device is gone, and with it its address, routes, neighbours and FDB.

use super::{Fault, PLAIN, Reach, Strikes, Subject, remembered};
use crate::{flannel, lan, netns, node, plan::Family, script::Script};

const MODEL: Fault = Fault {
    name: "flannel-link-missing",
    code: "flannel-link-missing",
    summary: "the overlay device is deleted",
    subject: Subject::OverlayGone,
    reach: Reach::AllPeers,
    alone: true,
    there: &["peer-vtep-not-listening", "tunnel-one-way"],
    breaks: |plan, site| {
        let line = format!("link del {}", plan.overlay(site.family));
        vec![Script::ip(&plan.nodes[site.victim].namespace, [line])]
    },
    heals: |plan, site| flannel::restart(plan, &plan.nodes[site.victim], site.family),
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "flannel-link-missing-with-uplink",
        summary: "the uplink is deleted; the kernel removes the overlay device with it",
        strikes: Strikes::AllFamilies,
        ethernet_only: Some("a relay does not hold a device that comes later"),
        // As soon as a slow peer has forgotten its MAC.
        there: &[
            "peer-vtep-not-listening",
            "tunnel-one-way",
            "peer-node-silent",
            "peer-node-unreachable-l2",
        ],
        breaks: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let line = format!("link del {}", victim.uplink);
            [vec![Script::ip(&victim.namespace, [line])], remembered(plan, site)].concat()
        },
        heals: |plan, site| {
            let victim = &plan.nodes[site.victim];
            let mut scripts = vec![
                Script::ip(netns::SWITCH, lan::port_for_node(plan, victim)),
                Script::ip(&victim.namespace, node::uplink(plan, victim)),
            ];
            let restart = |family: &Family| flannel::restart(plan, victim, *family);
            scripts.extend(plan.families().iter().flat_map(restart));
            scripts
        },
        ..MODEL
    },
];
