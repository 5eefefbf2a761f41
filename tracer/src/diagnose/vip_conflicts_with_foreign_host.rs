//! `vip-conflicts-with-foreign-host`: a machine outside the cluster claims a VIP that a node claims
//! too.

use std::collections::BTreeSet;

use super::{
    case::Case,
    finding::{Confidence, Severity},
    rule::{Judged, Rank, Rule, Ruling},
    vip,
};
use crate::{
    evidence::{MacAddress, Tables, Vip, VipAnnouncer},
    topology::mac_owner_in,
};

pub(super) const RULE: Rule = Rule {
    code: "vip-conflicts-with-foreign-host",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Live,
    judge,
};

/// Longer than MetalLB announces a VIP that it takes, out of every device of the node: five times,
/// 1.1 s apart. Seconds.
const BURST: f64 = 6.0;

fn judge(case: &Case<'_>) -> Ruling {
    let mut ruling = Ruling::default();
    for (vip, tables) in vip::of_case(case) {
        let is_node = |mac| mac_owner_in(&case.topology, tables, mac).is_some();
        let rivals = vip::rivals(vip);
        let (nodes, others): (Vec<&VipAnnouncer>, Vec<_>) =
            rivals.into_iter().partition(|it| is_node(it.mac));
        let foreign = others.into_iter().filter(|it| !is_virtual(it.mac)).collect::<Vec<_>>();
        if nodes.is_empty() || foreign.is_empty() {
            continue;
        }
        if !foreign.iter().any(|it| it.first_age - it.age > BURST) {
            ruling.unseen.push(format!(
                "whether {} goes on to claim the VIP {} too: a node that takes it does so for some \
                 seconds, by each of its devices; look for longer than {BURST:.0} s",
                foreign[0].mac, vip.address
            ));
        } else if knows_all_nodes(case, tables) {
            ruling.judged.push(judged(case, vip, &nodes, &foreign));
        } else {
            ruling.unseen.push(format!(
                "whose {} is, which claims the VIP {} too: not all nodes' MACs are known",
                foreign[0].mac, vip.address
            ));
        }
    }
    ruling
}

/// Whether a MAC that is no node's is none of the cluster: there is a neighbour entry with a MAC for
/// every peer's node.
fn knows_all_nodes(case: &Case<'_>, tables: &Tables) -> bool {
    let is_known =
        |node| tables.neighbours.iter().any(|entry| entry.address == node && entry.mac.is_some());
    case.topology.peers.iter().all(|peer| peer.node_ip.is_some_and(is_known))
}

/// Whether it is a MAC that machines share (VRRP, RFC 9568, section 7.3), as keepalived may use it.
const fn is_virtual(mac: MacAddress) -> bool {
    matches!(mac.0, [0, 0, 0x5e, 0, 1 | 2, _])
}

fn judged(
    case: &Case<'_>,
    vip: &Vip,
    nodes: &[&VipAnnouncer],
    foreign: &[&VipAnnouncer],
) -> Judged {
    let (address, mac) = (vip.address, foreign[0].mac);
    let mut evidence = vip::lines(foreign, |_| "no node of the cluster has this MAC".to_owned());
    evidence.extend(vip::lines(nodes, |_| "a node of the cluster".to_owned()));
    Judged {
        finding: RULE.finding(
            format!("A machine outside the cluster, {mac}, claims the VIP {address} too"),
            vip::about(vip),
            case.in_window(),
            evidence,
            vec![
                format!("(find {mac} by the switch's table of MACs, and give it another address)"),
                format!("(take {address} out of the DHCP server's range)"),
                "kubectl -n metallb-system get ipaddresspools -o yaml      (or give the load balancer \
                 another range)"
                    .to_owned(),
            ],
        ),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains: BTreeSet::new(),
        as_break: format!("vip {address}"),
    }
}
