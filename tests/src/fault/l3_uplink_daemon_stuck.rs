//! The daemon of a VPN hangs: it holds its device and reads nothing from it. In the lab that is the
//! relay, which leaves the packets of one node where they are.

use super::{Fault, PLAIN, Reach, Strikes, Subject};
use crate::{
    lan::layer3,
    netns,
    plan::{Node, Plan, Site},
    script::{Script, Tool},
};

/// Packets that the device holds: a VPN's has 500, and a lab would take a while to fill them.
const QUEUE: u32 = 50;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "l3-uplink-daemon-stuck",
    code: "l3-uplink-daemon-stuck",
    summary: "the VPN's daemon reads nothing from the uplink",
    subject: Subject::Uplink,
    reach: Reach::AllPeers,
    strikes: Strikes::AllFamilies,
    layer3_only: Some("it is the daemon of a TUN device"),
    breaks: |plan, site| set(plan, site, QUEUE, "stop"),
    heals: |plan, site| set(plan, site, layer3::QUEUE, "go"),
    ..PLAIN
}];

fn set(plan: &Plan, site: Site, queue: u32, order: &str) -> Vec<Script> {
    let Node { namespace, uplink, .. } = &plan.nodes[site.victim];
    vec![
        Script::new(Tool::Relay, Some(netns::SWITCH), [format!("{order} {namespace}")]),
        Script::ip(namespace, [format!("link set {uplink} txqueuelen {queue}")]),
    ]
}
