//! `vni-mismatch`: a peer's tunnel packets carry another VNI than this node's tunnel, and the kernel
//! drops them without a counter.
//!
//! Other tunnels of the same nodes may use the port too, another plugin's beside flannel's. So a peer
//! is told of only when nothing with this node's VNI comes from it, and only when no device of this
//! node has the other VNI. A cluster nearby has nodes of its own, which are no peers.

use std::net::IpAddr;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    odd_one_out::{self, Words, differing, hearing},
    rule::{Rank, Rule, Ruling},
};
use crate::evidence::{Sight, Sighting, Tables};

pub(super) const RULE: Rule = Rule {
    code: "vni-mismatch",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let Some(own) = overlay.vxlan.as_ref() else { return Ruling::default() };
    let name = |sighting: &Sighting| match sighting.what {
        Sight::OtherVni { source, vni } => {
            (!takes(tables, source, vni, own.port)).then_some((source, vni))
        }
        _ => None,
    };
    let words = Words { name: "VNI", own: own.vni, key: "Backend.VNI" };
    Ruling::from(odd_one_out::judged(case, &RULE, &words, &differing(case, name)))
}

/// Whether a device of this node takes packets of this VNI at this port.
fn takes(tables: &Tables, source: IpAddr, vni: u32, port: u16) -> bool {
    hearing(tables, source, port).any(|it| it.external || it.vni == vni)
}
