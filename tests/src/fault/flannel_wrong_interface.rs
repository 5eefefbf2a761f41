//! The overlay device is bound to a second card and sends from its address. Entries of the FDB name
//! no device, so packets leave by the right one all the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Fault, PLAIN, Reach, Severity, Subject};
use crate::{
    flannel,
    lan::{add_address, up},
    plan::{Both, Networks},
    script::Script,
};

/// The second card, and what it is cabled to.
const CARD: &str = "nic2";
const FAR: &str = "nic2-far";
/// Of the ranges for benchmarks (RFC 2544, RFC 5180), which no plan draws.
const ADDRESS: Networks = Both {
    v4: Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 200, 1), 24),
    v6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 2, 0, 200, 0, 0, 0, 1), 64),
};

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
        let address = ADDRESS.of(site.family);
        let mut lines = vec![
            format!("link del {}", plan.overlay(site.family)),
            format!("link add {CARD} type veth peer name {FAR}"),
            add_address(address, CARD),
            up(CARD),
            up(FAR),
        ];
        lines.extend(flannel::device_at(plan, victim, address.addr(), CARD));
        let mut scripts = vec![Script::ip(&victim.namespace, lines)];
        scripts.extend(flannel::peers(plan, victim, site.family));
        scripts
    },
    heals: |plan, site| {
        let victim = &plan.nodes[site.victim];
        // The overlay device goes with the card to which it is bound.
        let mut scripts = vec![Script::ip(&victim.namespace, [format!("link del {CARD}")])];
        scripts.extend(flannel::restart(plan, victim, site.family));
        scripts
    },
    ..PLAIN
}];
