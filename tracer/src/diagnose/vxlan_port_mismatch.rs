//! `vxlan-port-mismatch`: a peer sends its tunnel packets to another UDP port than that of this
//! node's tunnel, where nothing takes them.
//!
//! Other plugins have tunnels between the same nodes at VXLAN's usual ports. Theirs have another VNI,
//! or a device of this node takes them, or flannel's own come from the peer as well.

use std::net::IpAddr;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    odd_one_out::{self, Words, differing},
    rule::{Rank, Rule, Ruling},
};
use crate::evidence::{Sight, Sighting, Tables};

pub(super) const RULE: Rule = Rule {
    code: "vxlan-port-mismatch",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let Some(own) = overlay.vxlan.as_ref() else { return Ruling::default() };
    let name = |sighting: &Sighting| match sighting.what {
        Sight::OtherPort { source, port, vni } => {
            let is_foreign = vni == own.vni && port != own.port && !takes(tables, source, port);
            is_foreign.then_some((source, u32::from(port)))
        }
        _ => None,
    };
    let words = Words { name: "UDP port", own: u32::from(own.port), key: "Backend.Port" };
    Ruling::from(odd_one_out::judged(case, &RULE, &words, &differing(case, name)))
}

/// Whether a device of this node takes packets at this port: not flannel's of the other IP version, whose
/// port may be right.
fn takes(tables: &Tables, source: IpAddr, port: u16) -> bool {
    let mut settings = tables.links.iter().filter_map(|link| link.vxlan.as_ref());
    settings.any(|it| it.may_hear(source) && it.port == port)
}
