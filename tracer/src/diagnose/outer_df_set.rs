//! `outer-df-set`: somebody has the overlay device forbid fragments of its outer packets, and full
//! packets do not fit into a device towards the peers. Small packets pass, large ones end in the node
//! without a word to the pod.
//!
//! The ICMP error of the kernel goes to the node itself (net/ipv4/ip_output.c, ip_fragment, Linux
//! 6.18).

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    narrow::{Narrow, TooLarge, narrow},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{DontFragment, Link, StagePair};

pub(super) const RULE: Rule = Rule {
    code: "outer-df-set",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((_, overlay)) = case.working_overlay() else { return Ruling::default() };
    let found = narrow(case, TooLarge::Drops);
    Ruling::from(found.first().map(|least| judged(case, overlay, least, &found)))
}

fn judged(case: &Case<'_>, overlay: &Link, least: &Narrow<'_>, found: &[Narrow<'_>]) -> Judged {
    let (name, mtu) = (&overlay.name, overlay.mtu);
    let (uplink, most) = (&least.link.name, least.mtu);
    let lines = found.iter().map(|it| it.told(case, overlay));
    Judged {
        finding: RULE.finding(
            format!(
                "{name} MTU {mtu} + {} > {uplink} MTU {most}, and {name} forbids fragments: full \
                 packets are dropped",
                most - least.room
            ),
            case.about_interface(name),
            case.before_start(),
            [setting(overlay)].into_iter().chain(lines).chain(refused(case)).collect(),
            repair(case, name, least.room),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: lost(found),
        as_break: format!("full packets by {uplink}"),
    }
}

fn setting(overlay: &Link) -> String {
    let name = &overlay.name;
    match overlay.vxlan.as_ref().map(|vxlan| vxlan.df) {
        Some(DontFragment::Inherit) => format!(
            "{name} has `df inherit`: around a packet that may not be sent in fragments, as of TCP, \
             neither may the outer one"
        ),
        _ => format!("{name} has `df set`: no outer packet may be sent in fragments"),
    }
}

/// The kernel's counter of packets that could not be sent in fragments.
fn refused(case: &Case<'_>) -> Option<String> {
    let refused = case.evidence.statistics.as_ref()?.snmp?.ip_fragment_fails;
    let line = format!("the kernel refused {refused} packets for their size meanwhile (FragFails)");
    (refused > 0).then_some(line)
}

/// Smaller packets pass: only what was lost is explained.
fn lost(found: &[Narrow<'_>]) -> BTreeSet<Effect> {
    let peers = found.iter().flat_map(|it| &it.peers);
    let losing = peers.filter(|peer| peer.traffic.is_some_and(|it| it.lost.overlay_to_wire > 0));
    losing.map(|peer| Effect::Loss(peer.cidr, StagePair::OverlayToWire)).collect()
}

fn repair(case: &Case<'_>, overlay: &str, room: u32) -> Vec<String> {
    let note = format!(
        "flannel sets no df: find who did, or it comes back; after the restart new pods take MTU \
         {room}, running pods must be re-created"
    );
    let mut lines = vec![
        format!("ip link set {overlay} type vxlan df unset"),
        format!("ip link set {overlay} mtu {room}"),
    ];
    lines.extend(remedy::restart_with_note(case.evidence, &note));
    lines
}
