//! `vxlan-port-mismatch`: a peer sends its tunnel packets to another UDP port than that of this
//! node's tunnel, where nothing takes them.
//!
//! Other plugins have tunnels between the same nodes at VXLAN's usual ports. Theirs have another VNI,
//! or a device of this node takes them, or flannel's own come from the peer as well.

use super::{
    case::Case,
    finding::{Confidence, Severity},
    odd_one_out::{self, Words, differing, hearing},
    rule::{Rank, Rule, Ruling},
};
use crate::evidence::{Sight, Sighting};

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
    let is_taken = |source, port| hearing(tables, source, port).next().is_some();
    let name = |sighting: &Sighting| match sighting.what {
        Sight::OtherPort { source, port, vni } => {
            let is_foreign = vni == own.vni && port != own.port && !is_taken(source, port);
            is_foreign.then_some((source, u32::from(port)))
        }
        _ => None,
    };
    let words = Words { name: "UDP port", own: u32::from(own.port), key: "Backend.Port" };
    Ruling::from(odd_one_out::judged(case, &RULE, &words, &differing(case, name)))
}
