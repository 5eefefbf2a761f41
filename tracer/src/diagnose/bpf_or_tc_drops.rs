//! `bpf-or-tc-drops`: a program of tc or XDP drops the tunnel's packets on a device that they pass,
//! such as one that another network plugin has left behind.
//!
//! Kernels of before Linux 5.18 name the function alone: then the stages have to miss the packets. On
//! the way in that function drops nothing else that is IP and for one host
//! (`__netif_receive_skb_core` in net/core/dev.c, Linux 5.10); on the way out a queue is full by the same
//! one, so the program has to be known, and is likely only. So it is where the headers of dropped
//! packets are not read, on the devices that only pods' packets pass.

use std::collections::BTreeSet;

use super::{
    case::Case,
    counted::{agree, told_of},
    dropped::{Dropped, Dropper, Told, Way, drops, lasting, told, way},
    drops::effects,
    finding::{Confidence, Finding, Severity},
    firewall::{finding, perhaps_forbidden_anywhere},
    missing::missed,
    rule::{Effect, Judged, Rank, Rule, Ruling},
    unread::{is_unread, probable_by},
};
use crate::{
    evidence::{Drop, HookDirection, StagePair},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "bpf-or-tc-drops",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// How many peers a line names.
const NAMED: usize = 5;
/// Between which stages pods' packets alone pass a device.
const PAIRS: [StagePair; 2] = [StagePair::PodToOverlay, StagePair::OverlayToPod];

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Ingress,
    Egress,
    Xdp,
}

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    if case.working_overlay().is_none() {
        return ruling;
    }
    if is_unread(case) {
        for pair in PAIRS {
            let Some(judged) = probably(case, pair) else { continue };
            match perhaps_forbidden_anywhere(case, || format!("why {}", judged.as_break)) {
                Some(line) => ruling.unseen.push(line),
                None => ruling.judged.push(judged),
            }
        }
        return ruling;
    }
    for ((device, side), dropped) in lasting(case, |drop| on_tunnels_way(case, drop)) {
        let peers = hit(case, device, side, &dropped);
        let why = || format!("why a program on {device} drops packets of pods");
        match perhaps_forbidden_anywhere(case, why) {
            _ if peers.is_empty() => {}
            Some(line) => ruling.unseen.push(line),
            None => ruling.judged.push(judged(case, (device, side), &peers, &dropped)),
        }
    }
    ruling
}

/// Device and side of a program that dropped what pods of two nodes send to each other.
fn on_tunnels_way<'a>(case: &Case<'_>, drop: &'a Drop) -> Option<(&'a str, Side)> {
    let ways =
        matches!(way(case, drop)?, Way::TunnelOut(_) | Way::TunnelIn(_) | Way::Out(_) | Way::In(_));
    place(case, drop).filter(|_| ways)
}

/// Device and side of a program that dropped it. Those at the veth of a pod are for that pod alone.
fn place<'a>(case: &Case<'_>, drop: &'a Drop) -> Option<(&'a str, Side)> {
    told(drop, Dropper::Program)?;
    let device = drop.interface.as_deref()?;
    let topology = &case.topology;
    let mut passed = topology.uplinks.iter().chain(&topology.overlay).chain(&topology.bridge);
    let side = match (drop.reason.as_deref(), drop.symbol.as_deref()) {
        (Some("XDP"), _) => Side::Xdp,
        (Some("TC_EGRESS"), _) | (None | Some("NOT_SPECIFIED"), Some("__dev_queue_xmit")) => {
            Side::Egress
        }
        _ => Side::Ingress,
    };
    passed.any(|link| link.name == device).then_some((device, side))
}

/// The peers whose packets were dropped there, and missed at the next stage.
fn hit<'c, 'a>(
    case: &'c Case<'a>,
    device: &str,
    side: Side,
    dropped: &Dropped<'_>,
) -> Vec<&'c Peer<'a>> {
    let is_told = is_told(dropped);
    if !is_told && side == Side::Egress && programs(case, device, side).is_empty() {
        return Vec::new();
    }
    let effects: BTreeSet<Effect> =
        dropped.drops.iter().flat_map(|drop| effects(case, drop)).collect();
    let is_missed = |peer: &Peer<'_>, pair: StagePair| match is_told {
        true => agree(case, peer, pair),
        // Flows without answers prove nothing of a program here: it runs before the tracer's.
        false => pair != StagePair::WireToPeer && missed(case, peer, pair).is_some(),
    };
    let is_hit = |peer: &&Peer<'_>| {
        let losses = effects.iter().filter_map(|effect| match effect {
            Effect::Loss(cidr, pair) if *cidr == peer.cidr => Some(*pair),
            _ => None,
        });
        losses.into_iter().any(|pair| is_missed(peer, pair))
    };
    case.topology.peers.iter().filter(is_hit).collect()
}

fn is_told(dropped: &Dropped<'_>) -> bool {
    dropped.drops.iter().all(|drop| told(drop, Dropper::Program) == Some(Told::Reason))
}

/// The programs of others that are known to run there.
fn programs<'a>(case: &Case<'a>, device: &str, side: Side) -> Vec<&'a str> {
    let direction = match side {
        Side::Ingress => HookDirection::Ingress,
        Side::Egress => HookDirection::Egress,
        Side::Xdp => return Vec::new(),
    };
    let hooks = case.evidence.hooks.iter();
    let there = hooks.filter(|hook| hook.interface == device && hook.direction == direction);
    there.flat_map(|hook| &hook.foreign).map(String::as_str).collect()
}

fn judged(
    case: &Case<'_>,
    (device, side): (&str, Side),
    peers: &[&Peer<'_>],
    dropped: &Dropped<'_>,
) -> Judged {
    let explains = explained(case, (device, side), peers);
    let finding = RULE.finding(
        title(device, side),
        case.about_interface(device),
        case.in_window(),
        evidence(case, (device, side), peers, dropped),
        repair(device, side),
    );
    let is_certain = is_told(dropped) || side == Side::Ingress;
    let confidence = if is_certain { Confidence::Certain } else { Confidence::Likely };
    Judged {
        finding: Finding { confidence, ..finding },
        rank: RULE.rank,
        supports: losses(&explains).collect(),
        explains,
        as_break: format!("packets on {device}, dropped by a program"),
    }
}

/// What a program probably drops between two stages, where nobody can read whose packets it drops.
fn probably(case: &Case<'_>, pair: StagePair) -> Option<Judged> {
    let hits = probable_by(case, pair, Dropper::Program);
    let dropped = &hits.first()?.dropped;
    let (device, side) = place(case, dropped.drops.first()?)?;
    let peers: Vec<&Peer<'_>> = hits.iter().map(|hit| hit.peer).collect();
    let told = (title(device, side), case.about_interface(device));
    let lines = evidence(case, (device, side), &peers, dropped);
    let (finding, rank) = finding(case, &RULE, told, lines, repair(device, side));
    let lost: BTreeSet<Effect> = hits.iter().map(|hit| Effect::Loss(hit.peer.cidr, pair)).collect();
    Some(Judged {
        finding,
        rank,
        supports: lost.clone(),
        explains: lost,
        as_break: format!("packets on {device} are dropped by a program"),
    })
}

fn title(device: &str, side: Side) -> String {
    let (what, at) = match side {
        Side::Ingress => ("A tc program", "come in"),
        Side::Egress => ("A tc program", "go out"),
        Side::Xdp => ("An XDP program", "come in"),
    };
    format!("{what} drops the tunnel's packets as they {at} by {device}")
}

fn losses(effects: &BTreeSet<Effect>) -> impl Iterator<Item = Effect> {
    effects.iter().filter(|effect| matches!(effect, Effect::Loss(..))).copied()
}

/// What the program drops of these peers, and off the tunnel's way.
fn explained(
    case: &Case<'_>,
    place_of_program: (&str, Side),
    peers: &[&Peer<'_>],
) -> BTreeSet<Effect> {
    let dropped = drops(case).filter(|drop| place(case, drop) == Some(place_of_program));
    let is_its = |effect: &Effect| {
        effect.cidr().is_none_or(|cidr| peers.iter().any(|peer| peer.cidr == cidr))
    };
    let lost: BTreeSet<Effect> =
        dropped.flat_map(|drop| effects(case, drop)).filter(is_its).collect();
    // What a pod's packets meet before the tunnel, or after it, silences no peer.
    let is_silenced = |cidr| {
        let beyond = [StagePair::OverlayToWire, StagePair::WireToOverlay, StagePair::WireToPeer];
        beyond.into_iter().any(|pair| lost.contains(&Effect::Loss(cidr, pair)))
    };
    let silenced = peers.iter().map(|peer| peer.cidr).filter(|cidr| is_silenced(*cidr));
    let silences: Vec<Effect> = silenced.map(Effect::Silence).collect();
    lost.into_iter().chain(silences).collect()
}

fn evidence(
    case: &Case<'_>,
    (device, side): (&str, Side),
    peers: &[&Peer<'_>],
    dropped: &Dropped<'_>,
) -> Vec<String> {
    let mut labels: Vec<String> = peers.iter().map(|peer| peer.label()).collect();
    let more = labels.len().saturating_sub(NAMED);
    labels.truncate(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let whose = format!("they are of {}{more}", labels.join(", "));
    let mut lines = vec![told_of(dropped, case.evidence.window.seconds), whose];
    let programs = programs(case, device, side);
    if !programs.is_empty() {
        lines.push(format!("before the tracer's program there runs {}", programs.join(" and ")));
    }
    lines
}

fn repair(device: &str, side: Side) -> Vec<String> {
    let show = match side {
        Side::Ingress => format!("tc filter show dev {device} ingress"),
        Side::Egress => format!("tc filter show dev {device} egress"),
        Side::Xdp => format!("ip -d link show dev {device}"),
    };
    let off = match side {
        Side::Xdp => format!("ip link set dev {device} xdp off"),
        _ => format!("tc filter del dev {device} ingress|egress pref NUMBER"),
    };
    vec![
        show,
        format!("bpftool net show dev {device}      (programs of TCX and XDP too)"),
        format!(
            "({off}, when it is one that another network plugin, as Cilium or Calico, has left behind; \
             a plugin that runs writes it again)"
        ),
    ]
}
