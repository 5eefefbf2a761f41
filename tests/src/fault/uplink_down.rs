//! The uplink is down or has no carrier, while the overlay device stays up with all its entries.
//! Without carrier it keeps its addresses; set down it loses those of IPv6.

use super::{Fault, PLAIN, Reach, Strikes, Subject, given_up};
use crate::{
    lan::up,
    netns, node,
    plan::{Family, Node, Plan, Site, UplinkKind},
    script::Script,
};

const MODEL: Fault = Fault {
    name: "uplink-down",
    code: "uplink-down",
    summary: "the uplink is set down",
    subject: Subject::Uplink,
    reach: Reach::AllPeers,
    there: &["peer-node-unreachable-l2"],
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let line = format!("link set {} down", victim.uplink);
        [vec![Script::ip(&victim.namespace, [line])], given_up(plan, site, plan.families())]
            .concat()
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let lines = plan.families().iter().flat_map(|family| {
            let is_lost = *family == Family::V6;
            let address = is_lost.then(|| node::uplink_address(plan, victim, *family));
            address.into_iter().chain(node::routes(plan, victim, *family))
        });
        vec![Script::ip(&victim.namespace, [up(&victim.uplink)].into_iter().chain(lines))]
    },
    ..PLAIN
};

pub(super) const FAULTS: [Fault; 2] = [
    MODEL,
    Fault {
        name: "uplink-down-no-carrier",
        summary: "the switch port of the node is down, or its VPN: its uplink has no carrier",
        breaks: |plan, site| {
            [vec![carrier(plan, site, false)], given_up(plan, site, plan.families())].concat()
        },
        heals: |plan, site| vec![carrier(plan, site, true)],
        ..MODEL
    },
];

/// A TUN device has the carrier that its holder says.
fn carrier(plan: &Plan, site: Site, on: bool) -> Script {
    let Node { name, namespace, uplink, .. } = &plan.nodes[site.victim];
    match plan.lan.uplink {
        UplinkKind::Ethernet if on => Script::ip(netns::SWITCH, [up(name)]),
        UplinkKind::Ethernet => Script::ip(netns::SWITCH, [format!("link set {name} down")]),
        UplinkKind::Tun => {
            let state = if on { "on" } else { "off" };
            Script::ip(namespace, [format!("link set {uplink} carrier {state}")])
        }
    }
}
