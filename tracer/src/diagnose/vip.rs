//! What rules about VIPs share.

use super::{
    case::Case,
    finding::{Subject, SubjectKind},
};
use crate::evidence::{Family, Tables, Vip, VipAnnouncer};

/// Changes of the owner in one window from which it is no failover: there and back is two.
const TO_AND_FRO: u64 = 3;

/// The VIPs of a case's IP version, with the tables.
pub(super) fn of_case<'a>(
    case: &Case<'a>,
) -> impl Iterator<Item = (&'a Vip, &'a Tables)> + use<'a> {
    let family = case.topology.family;
    let known = case.evidence.vips.as_ref().zip(case.topology.tables);
    known.into_iter().flat_map(move |(vips, tables)| {
        let of_family = move |vip: &&Vip| Family::of(vip.address) == family;
        vips.entries.iter().filter(of_family).map(move |vip| (vip, tables))
    })
}

/// Those who go on claiming a VIP although another does too: each in both halves of the window, and
/// in turn. Fewer than two where it is a failover.
pub(super) fn rivals(vip: &Vip) -> Vec<&VipAnnouncer> {
    if vip.owner_changes < TO_AND_FRO {
        return Vec::new();
    }
    let lasts = |it: &&VipAnnouncer| it.early > 0 && it.replies + it.gratuitous > it.early;
    vip.announcers.iter().filter(lasts).collect()
}

/// A line for each of them.
pub(super) fn lines(
    rivals: &[&VipAnnouncer],
    whose: impl Fn(&VipAnnouncer) -> String,
) -> Vec<String> {
    let line = |it: &&VipAnnouncer| {
        format!(
            "{} claimed it by {} replies and {} announcements, in both halves of the window: {}",
            it.mac,
            it.replies,
            it.gratuitous,
            whose(it)
        )
    };
    rivals.iter().map(line).collect()
}

/// A VIP as the subject of a finding.
pub(super) fn about(vip: &Vip) -> Subject {
    Subject {
        kind: SubjectKind::Vip,
        key: vip.address.to_string(),
        peer: None,
        cidr: None,
        vtep_mac: None,
        interface: vip.interface.clone(),
        address: Some(vip.address),
    }
}
