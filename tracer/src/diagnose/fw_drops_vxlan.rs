//! The tunnel's packets that a packet filter of this node drops, in either direction.

use ipnet::IpNet;

use super::{
    blocked::{filtered, stages_agree},
    case::Case,
    dropped::{Way, way},
    firewall::{Hit, finding, hit_by, tunnel_port},
    rule::{Effect, Judged, Rule, Ruling},
    unread::{is_unread, probable},
};
use crate::evidence::StagePair;

/// One direction of the tunnel's packets.
pub(super) struct Direction {
    /// Its rule.
    pub(super) rule: &'static Rule,
    /// Where the packets are lost.
    pub(super) pair: StagePair,
    /// The peer, if a packet on this way goes in this direction.
    pub(super) takes: fn(Way) -> Option<IpNet>,
    /// The direction in words, to stand before a peer.
    pub(super) drops: &'static str,
    /// What becomes of a peer.
    pub(super) explains: fn(IpNet) -> Vec<Effect>,
    /// What to do.
    pub(super) repair: fn(&Case<'_>) -> Vec<String>,
}

/// Whether packets of the tunnel were dropped all the time, and missing at the next stage.
pub(super) fn judge(case: &Case<'_>, direction: &Direction) -> Ruling {
    if case.working_overlay().is_none() {
        return Ruling::default();
    }
    let hits =
        if is_unread(case) { probable(case, direction.pair) } else { proven(case, direction) };
    Ruling::from(judged(case, direction, &hits))
}

/// The peers whose packets were dropped.
fn proven<'c, 'a>(case: &'c Case<'a>, direction: &Direction) -> Vec<Hit<'c, 'a>> {
    let pair = direction.pair;
    let found = filtered(case, |drop| (direction.takes)(way(case, drop)?));
    let hits = found.into_iter().filter_map(|(cidr, dropped)| {
        let peer = case.topology.peer(cidr)?;
        stages_agree(case, peer, pair, &dropped).then_some(Hit { peer, pair, dropped })
    });
    hits.collect()
}

fn judged(case: &Case<'_>, direction: &Direction, hits: &[Hit<'_, '_>]) -> Option<Judged> {
    let (subject, whom) = hit_by(case, hits)?;
    let (node, port, words) = (&case.evidence.node.name, tunnel_port(case), direction.drops);
    let what = format!("of the tunnel ({port}) {words}");
    let title = format!("A firewall of {node} drops {port} {words} {whom}");
    let evidence = hits.iter().flat_map(|hit| hit.lines(case, &what)).collect();
    let repair = (direction.repair)(case);
    let (finding, rank) = finding(case, direction.rule, (title, subject), evidence, repair);
    let cidrs = hits.iter().map(|hit| hit.peer.cidr);
    Some(Judged {
        finding,
        rank,
        supports: cidrs.clone().map(|cidr| Effect::Loss(cidr, direction.pair)).collect(),
        explains: cidrs.flat_map(direction.explains).collect(),
        as_break: format!("{port} {words} {whom}"),
    })
}
