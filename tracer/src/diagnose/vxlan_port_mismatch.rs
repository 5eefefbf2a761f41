//! `vxlan-port-mismatch`: a peer sends its tunnel packets to another UDP port than that of this
//! node's tunnel, where nothing takes them.
//!
//! Other plugins have tunnels between the same nodes at VXLAN's usual ports. Theirs have another VNI,
//! or a device of this node takes them, or flannel's own come from the peer as well.

use super::{
    case::Case,
    finding::{Confidence, Severity},
    odd_one_out::{self, Differing, Words},
    rule::{Rank, Rule, Ruling},
    sighted::{ENOUGH, is_heard, lasting, peers_at},
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
        Sight::OtherPort { source, port, vni } if vni == own.vni => Some((source, port)),
        _ => None,
    };
    let found = lasting(case, ENOUGH, name);
    let foreign = found.iter().filter(|((_, port), _)| *port != own.port && !takes(tables, *port));
    let differing: Vec<Differing<'_, '_>> = foreign
        .flat_map(|((source, port), seen)| {
            let (setting, packets) = (u32::from(*port), seen.packets);
            let peers = peers_at(case, *source).filter(|peer| !is_heard(peer));
            peers.map(move |peer| Differing { peer, setting, packets })
        })
        .collect();
    let words = Words { name: "UDP port", own: u32::from(own.port), key: "Backend.Port" };
    Ruling::from(odd_one_out::judged(case, &RULE, &words, &differing))
}

/// Whether a device of this node takes packets at this port.
fn takes(tables: &Tables, port: u16) -> bool {
    tables.links.iter().filter_map(|link| link.vxlan.as_ref()).any(|it| it.port == port)
}
