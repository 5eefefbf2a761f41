//! `tunnel-fragments-outer`: full packets of the overlay device do not fit into a device towards the
//! peers once they are encapsulated. flannel sets no DF, so those of IPv4 are sent in fragments. Those of
//! IPv6 never are: the kernel refuses them and tells the sender (`ip6_fragment`, net/ipv6/ip6_output.c,
//! Linux 6.18).
//!
//! The kernel refuses a VXLAN device that is too large for its lower device, but never lowers it
//! later (drivers/net/vxlan, Linux 5.10 to 6.18).

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    narrow::{Narrow, TooLarge, narrow},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Family, Link};

pub(super) const RULE: Rule = Rule {
    code: "tunnel-fragments-outer",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

/// The least MTU of a link that carries IPv6 (RFC 8200), bytes.
pub(super) const IPV6_MINIMUM: u32 = 1280;

fn judge(case: &Case<'_>) -> Ruling {
    let Some((_, overlay)) = case.working_overlay() else { return Ruling::default() };
    let found = narrow(case, TooLarge::Fragments);
    Ruling::from(found.first().map(|least| judged(case, overlay, least, &found)))
}

fn judged(case: &Case<'_>, overlay: &Link, least: &Narrow<'_>, found: &[Narrow<'_>]) -> Judged {
    let (name, mtu) = (&overlay.name, overlay.mtu);
    Judged {
        finding: RULE.finding(
            format!(
                "{name} MTU {mtu} + {} > {} MTU {}: {}",
                least.mtu - least.room,
                least.link.name,
                least.mtu,
                fate(case.topology.family)
            ),
            case.about_interface(name),
            case.before_start(),
            found.iter().map(|it| it.told(case, overlay)).collect(),
            repair(case, name, least),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("full packets by {}", least.link.name),
    }
}

/// What becomes of full packets.
const fn fate(family: Family) -> &'static str {
    match family {
        Family::V4 => "full packets leave in fragments",
        Family::V6 => "full packets are refused as too big",
    }
}

/// flannel does not compare the MTU of a device that is there already (vxlanLinksIncompat in
/// pkg/backend/vxlan/device.go); a restart has the new one written for the pods to come.
fn repair(case: &Case<'_>, overlay: &str, least: &Narrow<'_>) -> Vec<String> {
    let room = least.room;
    if case.topology.family == Family::V6 && room < IPV6_MINIMUM {
        let needed = IPV6_MINIMUM + Family::V6.tunnel_overhead();
        return vec![
            format!("{}      (or more)", least.raise_to(needed)),
            format!("(IPv6 needs {IPV6_MINIMUM} inside the tunnel: a smaller {overlay} loses it)"),
        ];
    }
    let note = format!(
        "so that new pods take {room} too; running pods must be re-created; where flannel does not \
         find the MTU by itself, net-conf.json has one for the backend"
    );
    let mut lines = vec![format!("ip link set {overlay} mtu {room}")];
    lines.extend(remedy::restart_with_note(case.evidence, &note));
    lines
}
