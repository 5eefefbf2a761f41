//! `duplicate-vtep-mac`: a peer's overlay device has the same MAC as this node's, as on clones of one
//! machine. The kernel drops what comes with its own MAC (drivers/net/vxlan/vxlan_core.c,
//! vxlan_set_mac, Linux 6.18), and no counter moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{ENOUGH, Seen, lasting},
};
use crate::{
    evidence::{MacAddress, Sight, Sighting},
    topology::Peer,
};

pub(super) const RULE: Rule = Rule {
    code: "duplicate-vtep-mac",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Entry,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((_, overlay)) = case.working_overlay() else { return Ruling::default() };
    let Some(own) = overlay.mac else { return Ruling::default() };
    let name = |sighting: &Sighting| match sighting.what {
        Sight::OwnMac { source } => Some(source),
        _ => None,
    };
    let seen = lasting(case, ENOUGH, name);
    let judged = case.topology.peers.iter().filter_map(|peer| {
        let evidence = evidence(case, peer, own, &seen);
        (!evidence.is_empty()).then(|| judged(case, peer, own, evidence))
    });
    Ruling::from(judged.collect::<Vec<_>>())
}

/// What shows that the peer has this node's MAC: its entries, which agree, or its packets. An FDB
/// entry alone may be left over from before.
fn evidence(
    case: &Case<'_>,
    peer: &Peer<'_>,
    own: MacAddress,
    seen: &BTreeMap<IpAddr, Seen>,
) -> Vec<String> {
    let (name, seconds) = (case.overlay_name(), case.evidence.window.seconds);
    let is_written = peer.overlay_route.is_some()
        && peer.resolved().is_some_and(|(_, mac)| mac == own)
        && peer.fdb.is_some_and(|entry| entry.mac == own && entry.destination == peer.node_ip);
    let written = is_written
        .then(|| format!("neighbour and FDB entry of {name} for {} have this MAC", peer.cidr));
    let came = peer.node_ip.filter(|_| peer.is_known()).and_then(|node| {
        let packets = seen.get(&node)?.packets;
        Some(format!(
            "{packets} VXLAN packets that came from {node} in {seconds:.1} s carry it as their sender's"
        ))
    });
    written.into_iter().chain(came).collect()
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, own: MacAddress, proof: Vec<String>) -> Judged {
    let (name, cidr) = (case.overlay_name(), peer.cidr);
    let mut evidence = vec![format!("{name} of this node has the MAC {own}")];
    evidence.extend(proof);
    let mut subject = case.about_peer(peer);
    subject.vtep_mac = Some(own);
    Judged {
        finding: RULE.finding(
            format!("{} and this node have the same MAC {own} on {name}", peer.label()),
            subject,
            case.before_start(),
            evidence,
            vec![
                "rm /etc/machine-id && systemd-machine-id-setup      (on the clone: systemd makes the \
                 MAC of it; or MACAddressPolicy=none for flannel* in a .link file)"
                    .to_owned(),
                format!("ip link delete {name}      (there; then restart flannel there)"),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: Effect::between_tunnel_ends(cidr).collect(),
        as_break: format!("MAC of {cidr}"),
    }
}
