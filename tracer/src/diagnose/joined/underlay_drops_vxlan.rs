//! `underlay-drops-vxlan`: encapsulated packets leave one node for another and never come in there.

use super::way::{Fate, Lost, Side, fate};
use crate::diagnose::{
    finding::{Confidence, Finding, Severity},
    rule::{Rank, Rule, Ruling},
};

pub(super) const RULE: Rule = Rule {
    code: "underlay-drops-vxlan",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    // One node alone does not know it.
    judge: |_| Ruling { judged: Vec::new(), unseen: Vec::new() },
};

/// The finding, if packets are lost between the two, in one direction or in both. Without the
/// sender's own queue the cause is only likely.
pub(super) fn finding(
    felt: &Finding,
    own: &Side<'_, '_>,
    other: &Side<'_, '_>,
) -> Result<Finding, Option<String>> {
    let (out, back) = (fate(own, other), fate(other, own));
    let (a, b) = (&own.member.label, &other.member.label);
    let (title, first, second) = match (&out, &back) {
        (Fate::Lost(lost), Fate::Lost(lost_back)) => (
            format!("The network loses VXLAN between {a} and {b}, in both directions"),
            (own, other, lost),
            Some(said(other, own, lost_back)),
        ),
        (Fate::Lost(lost), way_back) => (
            format!("The network loses VXLAN from {a} to {b}"),
            (own, other, lost),
            back_in_words(other, own, way_back),
        ),
        (way_out, Fate::Lost(lost)) => (
            format!("The network loses VXLAN from {b} to {a}"),
            (other, own, lost),
            back_in_words(own, other, way_out),
        ),
        (Fate::Unknown(reason), _) | (_, Fate::Unknown(reason)) => return Err(reason.clone()),
        (Fate::Arrived(_), Fate::Arrived(_)) => return Err(None),
    };
    let (from, to, lost) = first;
    let is_certain = [&out, &back]
        .into_iter()
        .all(|fate| !matches!(fate, Fate::Lost(lost) if !lost.is_queue_known));
    let mut evidence = vec![said(from, to, lost)];
    evidence.extend(second);
    evidence.push(agreement(from, to, lost));
    Ok(Finding {
        confidence: if is_certain { Confidence::Certain } else { Confidence::Likely },
        breaks: felt.breaks.clone(),
        ..RULE.finding(
            title,
            felt.subject.clone(),
            felt.since.clone(),
            evidence,
            repair(from, to, lost),
        )
    })
}

fn said(from: &Side<'_, '_>, to: &Side<'_, '_>, lost: &Lost) -> String {
    format!(
        "{} encapsulated packets left {} for {} while {} looked too ({:.1} s); none came in at {} \
         there",
        lost.sent,
        from.member.label,
        from.peer.cidr,
        to.member.label,
        lost.together,
        lost.interface
    )
}

fn back_in_words(from: &Side<'_, '_>, to: &Side<'_, '_>, fate: &Fate) -> Option<String> {
    match fate {
        Fate::Arrived(packets) => {
            Some(format!("{packets} came in from {} at {}", from.member.label, to.member.label))
        }
        Fate::Lost(_) | Fate::Unknown(_) => None,
    }
}

/// What excludes that the tables or the sender itself are to blame.
fn agreement(from: &Side<'_, '_>, to: &Side<'_, '_>, lost: &Lost) -> String {
    let queue = if lost.is_queue_known {
        "its own queue did not drop them"
    } else {
        "whether its own queue dropped them was not read"
    };
    format!(
        "{} sends to {}, which {} has on {}, and both have the same VNI and port; {queue}",
        from.member.label, lost.address, to.member.label, lost.interface
    )
}

fn repair(from: &Side<'_, '_>, to: &Side<'_, '_>, lost: &Lost) -> Vec<String> {
    let vxlan = from.case.topology.overlay.and_then(|link| link.vxlan.as_ref());
    let port = vxlan.map_or(0, |vxlan| vxlan.port);
    let source = vxlan.and_then(|vxlan| vxlan.local).map(|ip| format!("from {ip} "));
    vec![
        format!("tcpdump -ni {} udp port {port}      (on {})", lost.interface, to.member.label),
        format!(
            "(open UDP {port} {}to {} in the network between them: security group, NSX, ACL, firewall; \
             or give flannel another port on all nodes, Backend.Port of net-conf.json)",
            source.unwrap_or_default(),
            lost.address
        ),
    ]
}
