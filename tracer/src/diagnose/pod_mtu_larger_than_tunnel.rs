//! `pod-mtu-larger-than-tunnel`: pods send packets that are too large for the overlay device. The
//! first one of each destination is answered by ICMP, then the pod's kernel knows better.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    pods,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::evidence::{Family, Link, Tables};

pub(super) const RULE: Rule = Rule {
    code: "pod-mtu-larger-than-tunnel",
    severity: Severity::Info,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some((tables, overlay)) = case.working_overlay() else { return Ruling::default() };
    let has_tunnel = case.topology.peers.iter().any(|peer| peer.direct.is_none());
    if !has_tunnel {
        return Ruling::default();
    }
    let allowed = allowed(overlay);
    let large: Vec<&Link> =
        to_pods(case, tables).into_iter().filter(|link| link.mtu > allowed).collect();
    Ruling::from(large.first().map(|first| judged(case, overlay, first, &large)))
}

/// The bridge when pods are on it, and the node's ends of the pods' veths.
fn to_pods<'a>(case: &Case<'a>, tables: &'a Tables) -> Vec<&'a Link> {
    let ports = pods::ports(case, tables);
    let bridge = case.topology.bridge.filter(|_| !ports.is_empty());
    bridge.into_iter().chain(ports).collect()
}

/// flannel reckons with the headers of IPv4 for pods and bridge, also where the tunnel is IPv6 and
/// the kernel has lowered its device: such a node is healthy.
fn allowed(overlay: &Link) -> u32 {
    let local = overlay.vxlan.as_ref().and_then(|vxlan| vxlan.local);
    let family = local.map_or(Family::V4, Family::of);
    overlay.mtu.saturating_add(family.tunnel_overhead() - Family::V4.tunnel_overhead())
}

fn judged(case: &Case<'_>, overlay: &Link, first: &Link, large: &[&Link]) -> Judged {
    let (tunnel, mtu) = (&overlay.name, overlay.mtu);
    let node = &case.evidence.node.name;
    let (name, larger) = (&first.name, first.mtu);
    let mut evidence = vec![format!("{name} has MTU {larger}, {tunnel} has MTU {mtu}")];
    if large.len() > 1 {
        evidence.push(format!("{} devices of pods are larger than {tunnel}", large.len()));
    }
    Judged {
        finding: RULE.finding(
            format!("Pods of this node have MTU {larger}, the tunnel has {mtu}"),
            case.about_interface(name),
            case.before_start(),
            evidence,
            vec![
                format!("kubectl drain {node} --ignore-daemonsets --delete-emptydir-data"),
                format!("kubectl uncordon {node}"),
                format!(
                    "(pods take the tunnel's MTU {mtu} when they are re-created; until then the \
                         first large packet to each address costs an ICMP error)"
                ),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::from([Effect::LargePods]),
        explains: BTreeSet::new(),
        as_break: format!("MTU of {name}"),
    }
}
