//! `path-mtu-blackhole`: packets above some size are lost on the way to a peer, in silence: a link on
//! the way (VPN, PPPoE, a cloud's network) is smaller than this node's uplink. Small packets pass, bulk
//! transfers and TLS hang. One node alone proves it by `--probe`; the counts of both are in
//! [`super::joined`].

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    narrow::fate_to,
    probed::{self, Limit},
    remedy,
    rule::{Judged, Rank, Rule, Ruling},
    tunnel_fragments_outer::IPV6_MINIMUM,
};
use crate::evidence::Family;

pub(super) const RULE: Rule = Rule {
    code: "path-mtu-blackhole",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// Bytes of what an ICMP error of IPv6 quotes and its own headers (`icmp6_send`, net/ipv6/icmp.c).
const QUOTE: u32 = 1280;

fn judge(case: &Case<'_>) -> Ruling {
    let limits = probed::limits(case).filter(|limit| is_the_paths(case, limit));
    let judged = limits.map(|limit| judged(case, &limit)).collect();
    Ruling { judged, unseen: probed::unseen(case) }
}

/// Whether less passes than what fits into this node's own device, or than the kernel knows of: what it
/// knows of it tells the pods.
fn is_the_paths(case: &Case<'_>, limit: &Limit<'_>) -> bool {
    let is_heeded = limit.probe.heeded;
    match fate_to(case, limit.peer) {
        Some((room, _)) => {
            limit.passes < room && !(is_heeded && case.topology.family == Family::V6)
        }
        None => !is_heeded,
    }
}

fn judged(case: &Case<'_>, limit: &Limit<'_>) -> Judged {
    let Limit { peer, passes, .. } = *limit;
    let cidr = peer.cidr;
    let family = case.topology.family;
    let on_wire = passes + family.tunnel_overhead();
    // An answer of IPv6 is nearly as large as its question.
    let is_answer_small = family == Family::V4 || passes >= QUOTE;
    let way = if is_answer_small { "on the way" } else { "on the way there or back" };
    Judged {
        finding: RULE.finding(
            format!("Packets above about {passes} bytes to {} are lost {way}", peer.label()),
            case.about_peer(peer),
            probed::since(case),
            vec![
                limit.told(),
                format!(
                    "encapsulated, {passes} bytes are {on_wire}: the path's MTU is smaller than that of \
                     this node's uplink, and nobody says so by ICMP"
                ),
            ],
            repair(case, limit, on_wire),
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: probed::lost(peer),
        as_break: format!("full packets to {cidr}"),
    }
}

/// flannel takes the tunnel's headers off what net-conf.json says, those of IPv4 for both IP versions
/// (pkg/backend/vxlan/device.go).
fn repair(case: &Case<'_>, limit: &Limit<'_>, on_wire: u32) -> Vec<String> {
    let passes = limit.passes;
    if case.topology.family == Family::V6 && passes < IPV6_MINIMUM {
        let needed = IPV6_MINIMUM + Family::V6.tunnel_overhead();
        return vec![format!(
            "(IPv6 needs {IPV6_MINIMUM} bytes inside the tunnel: the way to {} has to carry {needed})",
            limit.peer.short_name()
        )];
    }
    let mtu = passes + Family::V4.tunnel_overhead();
    let note = format!(
        "for good: net-conf.json with \"MTU\": {mtu} for the backend, or {on_wire} for the uplinks of all \
         nodes that use this way; running pods must be re-created"
    );
    let overlay = case.overlay_name();
    let mut lines = vec![format!("ip link set {overlay} mtu {passes}      (on both nodes)")];
    lines.extend(remedy::restart_with_note(case.evidence, &note));
    lines
}
