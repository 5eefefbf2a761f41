//! `uplink-queue-overlimit`: the queue of a device towards the peers has no room, behind a shaper or on
//! a link that is too slow, and drops a part of the tunnel's packets.
//!
//! Programs count before the queue (__dev_queue_xmit in net/core/dev.c, Linux 5.10 to 6.18), so that
//! these packets are among those of wire_out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    case::Case,
    dropped::{Dropped, Dropper, ENOUGH, Told, Way, covers, lasting, told, way},
    finding::{Confidence, Severity},
    missing::is_large_part,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Drop, QueueCounters, Stage, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "uplink-queue-overlimit",
    severity: Severity::Warning,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// Queues that hold packets back by a rate that somebody set.
const SHAPERS: [&str; 6] = ["tbf", "htb", "hfsc", "cake", "cbq", "netem"];

/// What the queue of one device dropped of the tunnel's packets, by the peer that they were for.
type ByPeer<'c, 'a> = Vec<(&'c Peer<'a>, Dropped<'a>)>;

fn judge(case: &Case<'_>) -> Ruling {
    let mut by_device: BTreeMap<&str, ByPeer<'_, '_>> = BTreeMap::new();
    for ((name, cidr), dropped) in lasting(case, |drop| queued(case, drop)) {
        if let Some(peer) = case.topology.peer(cidr) {
            by_device.entry(name).or_default().push((peer, dropped));
        }
    }
    let full = by_device.into_iter().filter(|(_, dropped)| is_much(case, dropped));
    let judged = full.map(|(name, dropped)| judged(case, name, &dropped)).collect();
    Ruling { judged, unseen: not_told(case) }
}

/// The device whose queue dropped a packet of the tunnel, and the peer that it was for. The counter of
/// the queue has to say the same, where it is read; where the kernel gives no reason it must be.
fn queued<'a>(case: &Case<'a>, drop: &'a Drop) -> Option<(&'a str, ipnet::IpNet)> {
    let how = told(drop, Dropper::Queue)?;
    let name = drop.interface.as_deref()?;
    let agrees = match queue(case, name) {
        Some(queue) => queue.dropped >= ENOUGH,
        None => how == Told::Reason,
    };
    // A device without carrier drops everything, and it is no queue that does.
    let link = case.topology.tables?.link_named(name)?;
    match way(case, drop)? {
        Way::TunnelOut(cidr) if agrees && link.lower_up => Some((name, cidr)),
        _ => None,
    }
}

fn queue<'a>(case: &Case<'a>, name: &str) -> Option<&'a QueueCounters> {
    let statistics = case.evidence.statistics.as_ref()?;
    statistics.queues.iter().find(|it| it.interface == name)
}

/// Of all that left for these peers; a device by which nothing was counted lost nothing behind it.
fn is_much(case: &Case<'_>, dropped: &ByPeer<'_, '_>) -> bool {
    let lost: u64 = dropped.iter().map(|(_, it)| it.packets).sum();
    let left = left_for(dropped);
    is_large_part(lost, left) && (!case.observed(Stage::WireOut) || covers(left, lost))
}

fn left_for(dropped: &ByPeer<'_, '_>) -> u64 {
    dropped.iter().filter_map(|(peer, _)| peer.traffic).map(|it| it.packets.wire_out).sum()
}

/// Without the packets' headers nothing tells whose packets a queue dropped.
fn not_told(case: &Case<'_>) -> Vec<String> {
    let evidence = case.evidence;
    let Some(statistics) = &evidence.statistics else { return Vec::new() };
    if evidence.drops.as_ref().is_some_and(|drops| drops.headers_read) {
        return Vec::new();
    }
    let sent = |name: &str| {
        let device = statistics.devices.iter().find(|it| it.interface == name);
        device.map_or(0, |it| it.tx_packets)
    };
    let is_full = |queue: &&QueueCounters| {
        queue.dropped >= ENOUGH && is_large_part(queue.dropped, sent(&queue.interface))
    };
    let line = |queue: &QueueCounters| {
        format!(
            "whether packets for peers are among the {} that the queue of {} dropped: dropped packets \
             were not read",
            queue.dropped, queue.interface
        )
    };
    statistics.queues.iter().filter(is_full).map(line).collect()
}

fn judged(case: &Case<'_>, name: &str, dropped: &ByPeer<'_, '_>) -> Judged {
    let queue = queue(case, name);
    let of_queue = queue.map(|it| {
        format!(
            "the queue of {name} ({}) dropped {} packets meanwhile and was over its limit {} times",
            it.kind, it.dropped, it.overlimits
        )
    });
    let lines = dropped.iter().map(|(peer, dropped)| lost_of(case, peer, dropped));
    Judged {
        finding: RULE.finding(
            format!("The queue of {name} is full and drops packets of the {}", case.tunnel()),
            case.about_interface(name),
            case.in_window(),
            lines.chain(of_queue).collect(),
            repair(name, queue),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: dropped.iter().flat_map(|(peer, it)| explained(peer, it.packets)).collect(),
        as_break: format!("packets that {name} has to send"),
    }
}

fn lost_of(case: &Case<'_>, peer: &Peer<'_>, dropped: &Dropped<'_>) -> String {
    let seconds = case.evidence.window.seconds;
    let left = peer.traffic.map_or(0, |it| it.packets.wire_out);
    format!(
        "{} of {left} encapsulated packets for {} were dropped in {seconds:.1} s: {}",
        dropped.packets,
        peer.label(),
        dropped.by()
    )
}

/// What went unanswered is explained when so much was dropped, and silence when most was.
fn explained(peer: &Peer<'_>, dropped: u64) -> Vec<Effect> {
    let (cidr, mut explained) = (peer.cidr, vec![Effect::Queued(peer.cidr)]);
    let Some(traffic) = peer.traffic else { return explained };
    let unanswered = traffic.lost.wire_to_peer;
    if unanswered > 0 && covers(dropped, unanswered) {
        explained.push(Effect::Loss(cidr, StagePair::WireToPeer));
    }
    if dropped * 2 >= traffic.packets.wire_out {
        explained.push(Effect::Silence(cidr));
    }
    explained
}

fn repair(name: &str, queue: Option<&QueueCounters>) -> Vec<String> {
    let look = format!("tc -s qdisc show dev {name}      (its limit, its rate, what it dropped)");
    let is_shaper = queue.is_some_and(|it| SHAPERS.contains(&it.kind.as_str()));
    let note = if is_shaper {
        format!(
            "(somebody set a rate: raise it, or take the shaper away by `tc qdisc del dev {name} root`)"
        )
    } else {
        format!(
            "(the link is slower than what is sent: `ip -s link show dev {name}` twice tells how much)"
        )
    };
    vec![look, note]
}
