//! The uplink is down or has no carrier, while the overlay device stays up with all its entries.

use super::{Fault, PLAIN, Reach, Subject, forgotten};
use crate::{lan::up, netns, node, script::Script};

const MODEL: Fault = Fault {
    name: "uplink-down",
    code: "uplink-down",
    summary: "the uplink is set down",
    subject: Subject::Uplink,
    reach: Reach::AllPeers,
    there: &["peer-node-unreachable-l2"],
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = format!("link set {} down", victim.uplink);
        [vec![Script::ip(&victim.namespace, [line])], forgotten(plan, site)].concat()
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let lines = [up(&victim.uplink), node::default_route(plan, victim)];
        vec![Script::ip(&victim.namespace, lines)]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "uplink-down-no-carrier",
        summary: "the switch port of the node is down: its uplink has no carrier",
        breaks: |plan, site| {
            let port = &plan.nodes[site.victim].name;
            let line = format!("link set {port} down");
            [vec![Script::ip(netns::SWITCH, [line])], forgotten(plan, site)].concat()
        },
        heals: |plan, site| vec![Script::ip(netns::SWITCH, [up(&plan.nodes[site.victim].name)])],
        ..MODEL
    },
];
