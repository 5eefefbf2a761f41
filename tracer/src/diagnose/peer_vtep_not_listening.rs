//! `peer-vtep-not-listening`: the node of a peer answers this node's tunnel packets with "port
//! unreachable". The answer goes to the node, never to the pod, which only waits.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Effect, Judged, Rank, Rule, Ruling},
    sighted::{Refusal, refusal, refused_tunnels, tunnel, words},
    underlay_neighbour_wrong_mac::another_machine,
};
use crate::{evidence::IcmpError, topology::Peer};

pub(super) const RULE: Rule = Rule {
    code: "peer-vtep-not-listening",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Told,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    // A host knows its own ports; of those of others nobody can say this but a firewall.
    let of_itself = |error: &IcmpError| {
        refusal(error) == Some(Refusal::Port) && error.sender == error.quoted.destination
    };
    let refused = refused_tunnels(case, of_itself).into_iter();
    let judged = refused.map(|(peer, error, packets)| judged(case, peer, &error, packets));
    Ruling::from(judged.collect::<Vec<_>>())
}

fn judged(case: &Case<'_>, peer: &Peer<'_>, error: &IcmpError, packets: u64) -> Judged {
    let (cidr, node, port) = (peer.cidr, error.sender, error.quoted.destination_port);
    let (name, seconds) = (case.overlay_name(), case.evidence.window.seconds);
    let vni = tunnel(case).map_or(0, |vxlan| vxlan.vni);
    let mut repair = vec![
        format!(
            "flannel-tracer check      (on {}: {name} is missing, down, or has another port)",
            peer.short_name()
        ),
        format!(
            "(if that finds nothing: `ip -d link show type vxlan` there must show VNI {vni} and port \
             {port}; a firewall may answer so too: `nft list ruleset`)"
        ),
    ];
    repair.extend(another_machine(case, peer));
    Judged {
        finding: RULE.finding(
            format!("The node of {} does not listen on UDP {port}", peer.label()),
            case.about_peer(peer),
            case.in_window(),
            vec![format!(
                "{packets} {} errors came from {node} itself in {seconds:.1} s, about this node's own \
                 packets to UDP {port}",
                words(error)
            )],
            repair,
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::Refused(cidr)]),
        explains: Effect::between_tunnel_ends(cidr).collect(),
        as_break: format!("UDP {port} of {node}"),
    }
}
