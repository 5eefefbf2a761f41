//! The overlay device is bound to a second card and sends from its address. Entries of the FDB name
//! no device, so packets leave by the right one all the same.

use std::net::Ipv4Addr;

use super::{Fault, PLAIN, Reach, Severity, Subject};
use crate::{flannel, lan::up, script::Script};

/// The second card, and what it is cabled to.
const CARD: &str = "nic2";
const FAR: &str = "nic2-far";
/// Of the range for benchmarks (RFC 2544), which no plan draws.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 200, 1);

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flannel-wrong-interface",
    code: "flannel-wrong-interface",
    summary: "the overlay device is bound to a second card, by which no peer is reached",
    severity: Severity::Warning,
    subject: Subject::Overlay,
    reach: Reach::Nobody,
    there: &[],
    breaks: |plan, site| {
        let victim = &plan.nodes[site.victim];
        let mut lines = vec![
            format!("link del {}", plan.overlay()),
            format!("link add {CARD} type veth peer name {FAR}"),
            format!("addr add {ADDRESS}/24 dev {CARD}"),
            up(CARD),
            up(FAR),
        ];
        lines.extend(flannel::device_at(plan, victim, ADDRESS, CARD));
        let mut scripts = vec![Script::ip(&victim.namespace, lines)];
        scripts.extend(flannel::peers(plan, victim));
        scripts
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        // The overlay device goes with the card to which it is bound.
        let mut scripts = vec![Script::ip(&victim.namespace, [format!("link del {CARD}")])];
        scripts.extend(flannel::restart(plan, victim));
        scripts
    },
    ..PLAIN
}];
