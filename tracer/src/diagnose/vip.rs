//! What rules about VIPs share.

use super::{
    case::Case,
    dropped::{self, Dropper},
    finding::{Subject, SubjectKind},
};
use crate::{
    evidence::{Drop, DropPlace, Family, Tables, Vip, VipAnnouncer, VipClient},
    topology::{MacOwner, mac_owner_in},
};

/// Changes of the owner in one window from which it is no failover: there and back is two.
const TO_AND_FRO: u64 = 3;

/// How long after its last claim a VIP that was learned counts as one: seconds.
const FORGOTTEN: f64 = 3600.0;

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

/// Whether it is certainly a VIP still: an address that nodes gave up may be asked for in vain.
pub(super) fn is_in_use(vip: &Vip) -> bool {
    vip.given || vip.owner.as_ref().is_some_and(|owner| owner.age <= FORGOTTEN)
}

/// The clients outside the cluster that ask for a VIP again and again, as who gets no answer does.
pub(super) fn retrying<'v>(case: &Case<'_>, vip: &'v Vip, tables: &Tables) -> Vec<&'v VipClient> {
    let is_proof = |it: &&VipClient| it.retries(vip) && is_outside(case, tables, it);
    vip.clients.iter().filter(is_proof).collect()
}

/// Whether a client is no node of the cluster: a node may ask for the VIP that it has announced
/// itself, because it lacks the rules for it.
fn is_outside(case: &Case<'_>, tables: &Tables, client: &VipClient) -> bool {
    let is_node = tables.is_local(client.address)
        || case.topology.peers.iter().any(|peer| peer.node_ip == Some(client.address));
    !is_node && mac_owner_in(&case.topology, tables, client.mac).is_none()
}

/// Whether this node claimed a VIP last, of all who were heard.
pub(super) fn is_claimed_here(case: &Case<'_>, vip: &Vip, tables: &Tables) -> bool {
    let owner = vip.owner.as_ref();
    let owner = owner.and_then(|owner| mac_owner_in(&case.topology, tables, owner.mac));
    owner == Some(MacOwner::Own)
}

/// The VIP that this node claims and that a packet was for which a packet filter dropped: by its
/// address, or by that of a pod where one of its clients has sent it.
pub(super) fn of_drop<'a>(case: &Case<'a>, drop: &Drop) -> Option<&'a Vip> {
    let flow = drop.flow.filter(|_| drop.place == DropPlace::Node && drop.outer.is_none())?;
    // Most drops are no filter's, and most nodes claim nothing.
    dropped::told(drop, Dropper::Firewall)?;
    let is_of_cluster = |address| {
        case.topology.is_own(address)
            || case.topology.cluster_cidrs.iter().any(|it| it.contains(&address))
            || case.topology.peer_of(address).is_some()
    };
    let is_its = |vip: &Vip, tables: &Tables| {
        let is_client = || vip.clients.iter().any(|client| client.address == flow.source);
        let is_there = vip.interface.is_none() || vip.interface == drop.interface;
        let is_for_it =
            flow.destination == vip.address || is_of_cluster(flow.destination) && is_client();
        let is_node = tables.is_local(flow.source)
            || case.topology.peers.iter().any(|peer| peer.node_ip == Some(flow.source));
        is_there && is_for_it && !is_node && !is_of_cluster(flow.source)
    };
    let mut vips = of_case(case);
    let is_meant =
        |(vip, tables): &(&Vip, &Tables)| is_its(vip, tables) && is_claimed_here(case, vip, tables);
    vips.find(is_meant).map(|(vip, _)| vip)
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

/// Who asks in vain, and who claimed the VIP last.
pub(super) fn asked_in_vain(vip: &Vip, retrying: &[&VipClient]) -> Vec<String> {
    /// Clients that are listed.
    const LISTED: usize = 3;
    let address = vip.address;
    let mut lines: Vec<String> = retrying
        .iter()
        .take(LISTED)
        .map(|client| {
            let ago: Vec<String> =
                client.asked.iter().rev().map(|age| format!("{age:.1}")).collect();
            format!(
                "{} ({}) asked for {address} again and again: {} s before the end of the check",
                client.address,
                client.mac,
                ago.join(", ")
            )
        })
        .collect();
    if retrying.len() > LISTED {
        lines.push(format!("{} more clients did the same", retrying.len() - LISTED));
    }
    lines.extend(claimed(vip));
    lines
}

/// Who claimed a VIP last.
pub(super) fn claimed(vip: &Vip) -> Vec<String> {
    let protocol = protocol(vip);
    vec![match &vip.owner {
        Some(owner) => format!(
            "{} claimed it last, {:.1} s before the end of the check, by {protocol}",
            owner.mac, owner.age
        ),
        None => format!("nobody was seen to claim it by {protocol}"),
    }]
}

/// By what it is asked for.
pub(super) const fn protocol(vip: &Vip) -> &'static str {
    if vip.address.is_ipv4() { "ARP" } else { "neighbour discovery" }
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
