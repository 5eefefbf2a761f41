//! Large packets that leave one node for another and never come in there, while smaller ones do:
//! `path-mtu-blackhole` and `outer-fragments-dropped` by both ends' counts.
//!
//! A connection that begins with small packets is answered, so that neither node may feel it. That all
//! of the large ones belong to flows that a network loses whatever their size cannot be excluded: it is
//! likely, and `--probe` tells for sure.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    member::Member,
    way::{Large, Side, large},
};
use crate::{
    diagnose::{
        finding::{Confidence, Finding},
        judgement::Judgement,
        merge::Cause,
        narrow::{TooLarge, fate_to},
        outer_fragments_dropped, path_mtu_blackhole,
        probed::lost,
        rule::{Judged, Rule},
    },
    evidence::Family,
};

/// What is told of it, and by probes.
pub(super) const CODES: [&str; 2] =
    [path_mtu_blackhole::RULE.code, outer_fragments_dropped::RULE.code];

/// Large packets that are lost from a node to another: each with its place and its pod CIDR, by which
/// the other knows it.
pub(super) struct LargeLost {
    /// Who sends.
    pub(super) from: (usize, IpNet),
    /// Who gets none.
    pub(super) to: (usize, IpNet),
    /// The finding of the sender.
    pub(super) cause: Cause,
}

/// All of them, in the order of the nodes.
pub(super) fn find(members: &[Member], judgements: &[Judgement<'_>]) -> Vec<LargeLost> {
    let places = 0..members.len();
    let pairs = places.clone().flat_map(|one| places.clone().map(move |other| (one, other)));
    let pairs = pairs
        .filter(|(one, other)| one != other && members[*one].can_be_held_against(&members[*other]));
    let ends = pairs.flat_map(|(one, other)| {
        ends(&members[one], &members[other])
            .into_iter()
            .map(move |(own, far)| ((one, own), (other, far)))
    });
    let side = |(node, _): (usize, IpNet), (_, cidr): (usize, IpNet)| {
        Side::of(&members[node], &judgements[node].cases, cidr)
    };
    let found = ends.filter_map(|(from, to)| {
        let (own, far) = side(from, to).zip(side(to, from))?;
        Some(LargeLost { from, to, cause: cause(&own, &far)? })
    });
    found.collect()
}

/// The pod CIDR of each of two nodes, for each IP version of which both have one: of several a count
/// tells only a part.
fn ends(one: &Member, other: &Member) -> Vec<(IpNet, IpNet)> {
    let only = |member: &Member, family: Family| {
        let cidrs = member.ends.iter().flat_map(|end| end.cidrs.clone());
        let of_family: Vec<IpNet> = cidrs.filter(|cidr| Family::of_net(*cidr) == family).collect();
        (of_family.len() == 1).then(|| of_family[0])
    };
    let of = |family| only(one, family).zip(only(other, family));
    [Family::V4, Family::V6].into_iter().filter_map(of).collect()
}

fn cause(from: &Side<'_, '_>, to: &Side<'_, '_>) -> Option<Cause> {
    let lost_there = large(from, to)?;
    let rule = rule(from);
    let judged = Judged {
        finding: finding(&rule, from, to, &lost_there),
        rank: rule.rank,
        supports: BTreeSet::new(),
        explains: lost(from.peer),
        as_break: format!("large packets to {}", from.peer.cidr),
    };
    Some(Cause { judged, accounts_for: BTreeSet::new() })
}

/// What does not fit into the sender's own uplink leaves in fragments, by IPv4.
fn rule(from: &Side<'_, '_>) -> Rule {
    let is_fragmented =
        fate_to(from.case, from.peer).is_some_and(|(_, fate)| fate == TooLarge::Fragments);
    if is_fragmented && from.case.topology.family == Family::V4 {
        outer_fragments_dropped::RULE
    } else {
        path_mtu_blackhole::RULE
    }
}

fn finding(rule: &Rule, from: &Side<'_, '_>, to: &Side<'_, '_>, lost: &Large) -> Finding {
    let (a, b) = (&from.member.label, &to.member.label);
    let evidence = vec![
        format!(
            "{} packets of more than {} bytes left {a} encapsulated for {} while {b} looked too \
             ({:.1} s); none of that size came in at {} there",
            lost.sent,
            tracer_common::stage::LARGE,
            from.peer.cidr,
            lost.together,
            lost.interface
        ),
        format!("{} smaller ones came in there from {a}", lost.smaller),
    ];
    let repair = vec![
        format!(
            "flannel-tracer check --probe      (on {a}: it tells the largest size that passes)"
        ),
        "(then lower the MTU of flannel's network to that size, or raise that of the path)"
            .to_owned(),
    ];
    let title = format!("Large packets from {a} do not get to {b}");
    let since = from.case.in_window();
    let subject = from.case.about_peer(from.peer);
    Finding {
        confidence: Confidence::Likely,
        ..rule.finding(title, subject, since, evidence, repair)
    }
}
