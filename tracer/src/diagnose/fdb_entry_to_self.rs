//! `fdb-entry-points-to-self`: the FDB sends a peer's packets to this node itself, where they loop
//! through the overlay device until their time to live ends.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    remedy,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{FdbEntry, StagePair, Tables},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "fdb-entry-points-to-self",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, _)) = case.working_overlay() else { return Ruling::default() };
    let looped = case.topology.peers.iter().filter(|peer| peer.overlay_route.is_some());
    let judged = looped.filter_map(|peer| {
        let entry = peer.resolved().and(peer.fdb)?;
        let own = tables.is_local(entry.destination?);
        own.then(|| judged(case, tables, peer, entry))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, tables: &Tables, peer: &Peer<'_>, entry: &FdbEntry) -> Judged {
    let cidr = peer.cidr;
    let note = "when every node announces the same address, flannel chose the wrong interface: set \
                --iface, with k3s --flannel-iface, on every node";
    Judged {
        finding: RULE.finding(
            format!("The FDB sends packets of {} to this node itself", peer.label()),
            case.about_peer(peer),
            case.after_age(entry.updated_age),
            evidence(case, tables, peer, entry),
            remedy::restart_with_note(case.evidence, note),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::from([
            Effect::Loss(cidr, StagePair::OverlayToWire),
            Effect::Silence(cidr),
        ]),
        as_break: format!("FDB entry of {cidr}"),
    }
}

fn evidence(case: &Case<'_>, tables: &Tables, peer: &Peer<'_>, entry: &FdbEntry) -> Vec<String> {
    let name = case.overlay_name();
    let mac = entry.mac;
    let mut lines = Vec::new();
    if let Some(own) = entry.destination {
        let device = tables.addresses.iter().find(|address| address.address == own);
        let device = device.and_then(|address| tables.link(address.ifindex));
        let device = device.map_or("this node", |link| &link.name);
        lines.push(format!(
            "the FDB of {name} sends {mac}, the MAC of the neighbour {}, to {own}, which is an \
             address of {device} here",
            peer.gateway
        ));
    }
    if let Some(intent) = peer.intent {
        lines.push(format!("{} says that its node is {}", intent.source, intent.node_ip));
    }
    let out = peer.traffic.map_or(0, |traffic| traffic.packets.overlay_out);
    let left = peer.traffic.map_or(0, |traffic| traffic.packets.wire_out);
    if out > left {
        lines.push(format!(
            "{out} packets for {} were counted leaving {name}, a looping one each time it comes \
             round, and {left} at the uplink",
            peer.cidr
        ));
    }
    lines
}
