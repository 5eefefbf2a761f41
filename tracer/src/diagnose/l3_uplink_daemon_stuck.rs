//! `l3-uplink-daemon-stuck`: an uplink is the TUN device of a VPN whose process holds it and reads
//! nothing from it. Once its queue is full the kernel drops all that is sent.
//!
//! The kernel counts a packet as sent when the process reads it, and as dropped where the queue has no
//! room (tun_put_user and tun_net_xmit in drivers/net/tun.c, Linux 5.10 to 6.18). A process that is
//! merely slow has read something.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{
    case::Case,
    dropped::{Dropped, Dropper, ENOUGH, Way, lasting, told, way},
    finding::{Confidence, Finding, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{DeviceCounters, Drop, Link, Origin, RouteOutcome},
    topology::{Peer, leaves_by},
};

pub(super) const RULE: Rule = Rule {
    code: "l3-uplink-daemon-stuck",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let is_held = |link: &&&Link| link.kind.as_deref() == Some("tun") && link.up && link.lower_up;
    let held = case.topology.uplinks.iter().filter(is_held);
    Ruling::from(held.filter_map(|link| of_device(case, link)).collect::<Vec<_>>())
}

fn of_device(case: &Case<'_>, link: &Link) -> Option<Judged> {
    let devices = &case.evidence.statistics.as_ref()?.devices;
    let counters = devices.iter().find(|it| it.interface == link.name)?;
    if counters.tx_packets > 0 || counters.tx_dropped < ENOUGH {
        return None;
    }
    let dropped = lasting(case, |drop| of_ring(case, link, drop));
    let is_read = case.evidence.drops.as_ref().is_some_and(|drops| drops.headers_read);
    let peers = behind(case, link);
    let is_proven =
        if is_read { !dropped.is_empty() } else { peers.iter().any(|it| is_sent_to(it)) };
    is_proven.then(|| judged(case, counters, &peers, &dropped))
}

/// The peer whose packet found no room in the device's queue.
fn of_ring(case: &Case<'_>, link: &Link, drop: &Drop) -> Option<IpNet> {
    told(drop, Dropper::TunnelRing).filter(|_| drop.interface.as_ref() == Some(&link.name))?;
    match way(case, drop)? {
        Way::TunnelOut(cidr) => Some(cidr),
        _ => None,
    }
}

/// The known peers to whose nodes the kernel sends by this device.
fn behind<'c, 'a>(case: &'c Case<'a>, link: &Link) -> Vec<&'c Peer<'a>> {
    let answers = || case.topology.tables.iter().flat_map(|tables| &tables.answers);
    let leaves = |peer: &&Peer<'_>| {
        answers().any(|answer| match &answer.outcome {
            RouteOutcome::Route(route) => {
                answer.origin == Origin::Node
                    && Some(answer.destination) == peer.node_ip
                    && leaves_by(route, link.index)
            }
            RouteOutcome::Refused(_) => false,
        })
    };
    case.topology.peers.iter().filter(|peer| peer.is_known()).filter(leaves).collect()
}

/// Packets were handed to the device for it in both halves of the window.
fn is_sent_to(peer: &Peer<'_>) -> bool {
    let packets = peer.traffic.map(|it| (it.packets.wire_out, it.early.wire_out));
    packets.is_some_and(|(all, early)| all >= ENOUGH && early > 0 && all > early)
}

fn judged(
    case: &Case<'_>,
    counters: &DeviceCounters,
    peers: &[&Peer<'_>],
    dropped: &BTreeMap<IpNet, Dropped<'_>>,
) -> Judged {
    let (name, seconds) = (&counters.interface, case.evidence.window.seconds);
    let mut evidence = vec![format!(
        "a process holds {name} and read none of its packets in {seconds:.1} s: {} were dropped for want \
         of room (tx_dropped)",
        counters.tx_dropped
    )];
    evidence.extend(dropped.iter().map(|(cidr, it)| of_peer(case, *cidr, it)));
    let mut explains: BTreeSet<Effect> =
        peers.iter().flat_map(|peer| Effect::beyond_overlay(peer.cidr)).collect();
    explains.extend(dropped.keys().map(|cidr| Effect::Queued(*cidr)));
    let finding = RULE.finding(
        format!("The daemon of {name} reads no packets: nothing leaves for {}", count(peers.len())),
        case.about_interface(name),
        case.in_window(),
        evidence,
        repair(name),
    );
    // Not every reason for which the device drops is the daemon's.
    let confidence = if dropped.is_empty() { Confidence::Likely } else { RULE.confidence };
    Judged {
        finding: Finding { confidence, ..finding },
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: format!("packets that {name} has to send"),
    }
}

fn of_peer(case: &Case<'_>, cidr: IpNet, dropped: &Dropped<'_>) -> String {
    let label = case.topology.peer(cidr).map_or_else(|| cidr.to_string(), Peer::label);
    format!("{} of them were encapsulated, for {label} ({})", dropped.packets, dropped.by())
}

fn count(peers: usize) -> String {
    if peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") }
}

fn repair(name: &str) -> Vec<String> {
    if name.starts_with("tailscale") {
        return vec!["systemctl restart tailscaled".to_owned()];
    }
    vec![
        "ip -d tuntap show      (which process each device is attached to)".to_owned(),
        format!("(restart the VPN's daemon that holds {name}: it hangs)"),
    ]
}
