//! The lines of `check` about VIPs.

use super::super::json::owner_node;
use crate::evidence::{Evidence, MacAddress, Vip};

/// With more VIPs than this only those are told that somebody asked for or claimed.
const ALL: usize = 5;
/// VIPs that are told at most.
const MOST: usize = 20;

/// A line for each VIP.
pub(super) fn lines(evidence: &Evidence) -> Vec<String> {
    let Some(vips) = &evidence.vips else { return Vec::new() };
    let is_busy = |vip: &&Vip| {
        vips.entries.len() <= ALL || vip.requests > 0 || vip.replies + vip.gratuitous > 0
    };
    let told: Vec<&Vip> = vips.entries.iter().filter(is_busy).collect();
    let mut lines: Vec<String> = told.iter().take(MOST).map(|vip| line(evidence, vip)).collect();
    let left_out = vips.entries.len() - lines.len();
    if left_out > 0 && !vips.entries.is_empty() {
        lines.push(format!("{left_out} more"));
    }
    lines
}

fn line(evidence: &Evidence, vip: &Vip) -> String {
    let interface = vip.interface.as_ref().map(|it| format!(" on {it}")).unwrap_or_default();
    let owner = match &vip.owner {
        Some(owner) => {
            let gap = owner.gap.filter(|_| vip.owner_changes > 0);
            let gap = gap.map(|gap| format!(", after {gap:.2} s without an owner"));
            format!(
                "claimed by {}, {:.1} s ago{}",
                words(evidence, owner.mac),
                owner.age,
                gap.unwrap_or_default()
            )
        }
        None => "claimed by nobody here".to_owned(),
    };
    format!(
        "{}{interface}: {owner}; {} requests of {} clients, {} replies and {} announcements seen",
        vip.address,
        vip.requests,
        vip.clients.len(),
        vip.replies,
        vip.gratuitous
    )
}

fn words(evidence: &Evidence, mac: MacAddress) -> String {
    owner_node(evidence, mac).map_or_else(|| mac.to_string(), |node| format!("{node} ({mac})"))
}
