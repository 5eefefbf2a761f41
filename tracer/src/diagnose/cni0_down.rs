//! `cni0-down`: the bridge of the pods is down, or was deleted while pods were on it.
//!
//! A bridge that no pod uses is healthy in any state: flannel's CNI plugin creates it and sets it
//! up with the next pod.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    case::{Case, is_link_local},
    finding::{Confidence, Severity},
    pods,
    rule::{Effect, Judged, Rank, Rule, Ruling},
};
use crate::{
    evidence::{Family, Link, StagePair, Tables},
    topology::{Topologies, leaves_by, nth_address},
};

pub(super) const RULE: Rule = Rule {
    code: "cni0-down",
    severity: Severity::Critical,
    confidence: Confidence::Certain,
    rank: Rank::Device,
    judge,
};

fn judge(case: &Case<'_>) -> Ruling {
    let Some(tables) = case.topology.tables else { return Ruling::default() };
    Ruling::from(match case.topology.bridge {
        Some(bridge) if bridge.up => None,
        Some(bridge) => down(case, tables, bridge),
        None => deleted(case, tables),
    })
}

fn down(case: &Case<'_>, tables: &Tables, bridge: &Link) -> Option<Judged> {
    let name = &bridge.name;
    let ports = tables.links.iter().filter(|link| link.master == Some(bridge.index)).count();
    let orphans = orphans(case, tables);
    if ports == 0 && orphans.is_empty() {
        return None;
    }
    let mut evidence =
        vec![format!("the bridge {name} exists, has {ports} ports, and its IFF_UP flag is clear")];
    evidence.extend(orphans.first().map(|first| without_bridge(&orphans, first)));
    Some(judged(
        case,
        name,
        format!("{name} is administratively down: the pods of this node reach nothing"),
        evidence,
        repair(case, name),
    ))
}

/// The kernel took the IPv6 addresses with the link, and gives none back.
fn repair(case: &Case<'_>, name: &str) -> Vec<String> {
    let own = Topologies::of(case.evidence).own_cidrs();
    let of_ipv6 = own.iter().filter(|own| Family::of_net(**own) == Family::V6).map(|own| {
        format!("ip -6 addr add {}/{} dev {name} nodad", nth_address(*own, 1), own.prefix_len())
    });
    [format!("ip link set {name} up")].into_iter().chain(of_ipv6).collect()
}

/// The bridge is gone and the pods' veths are left. Without pods no bridge is needed.
fn deleted(case: &Case<'_>, tables: &Tables) -> Option<Judged> {
    let own = case.topology.own_cidrs.first()?;
    let orphans = orphans(case, tables);
    let first = orphans.first()?;
    let name = case.evidence.intent.bridge_option.as_deref().unwrap_or("cni0");
    let node = &case.evidence.node.name;
    Some(judged(
        case,
        name,
        format!("{name} was deleted: the running pods of this node reach nothing"),
        vec![format!("no bridge holds {own}"), without_bridge(&orphans, first)],
        vec![
            format!("kubectl drain {node} --ignore-daemonsets --delete-emptydir-data"),
            format!("kubectl uncordon {node}"),
            "(running pods do not return to a new bridge: they must be re-created)".to_owned(),
        ],
    ))
}

fn without_bridge(orphans: &[&Link], first: &Link) -> String {
    format!("{} veths of pods have no bridge ({} among them)", orphans.len(), first.name)
}

/// Veths that lost their bridge; none where pods are routed to without one (Canal, Cilium).
fn orphans<'a>(case: &Case<'_>, tables: &'a Tables) -> Vec<&'a Link> {
    if pods::are_without_bridge(case, tables) {
        return Vec::new();
    }
    pods::veths(case, tables).filter(|link| is_orphan(tables, link)).collect()
}

/// A veth that leads nowhere: no master, no address, no route. Link-local ones are on every
/// device that is up.
fn is_orphan(tables: &Tables, link: &Link) -> bool {
    let counts = |address: IpAddr| !is_link_local(address) && !address.is_multicast();
    let has_address = || tables.addresses_of(link.index).any(|it| counts(it.address));
    let is_routed = || {
        let routes = &mut tables.routes.iter();
        routes.any(|it| counts(it.destination.addr()) && leaves_by(it, link.index))
    };
    link.master.is_none() && !has_address() && !is_routed()
}

fn judged(
    case: &Case<'_>,
    name: &str,
    title: String,
    evidence: Vec<String>,
    repair: Vec<String>,
) -> Judged {
    let mut explains = BTreeSet::from([Effect::StrayLeak(case.topology.family)]);
    for peer in &case.topology.peers {
        explains.extend([
            Effect::Loss(peer.cidr, StagePair::PodToOverlay),
            Effect::Loss(peer.cidr, StagePair::OverlayToPod),
            Effect::Silence(peer.cidr),
        ]);
    }
    let subject = case.about_interface(name);
    Judged {
        finding: RULE.finding(title, subject, case.before_start(), evidence, repair),
        rank: RULE.rank,
        supports: BTreeSet::new(),
        explains,
        as_break: format!("bridge {name}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        diagnose::testing::{BRIDGE, Pass, Plan, UPLINK, VETH, judge, link, tables, told, via},
        evidence::Evidence,
        topology::detect_roles,
    };

    #[test]
    fn a_bridge_down_whose_ports_were_taken_is_told_by_the_orphans() {
        let plan = Plan::of(2, Pass::Tables);
        let mut evidence = plan.evidence();
        for link in &mut tables(&mut evidence).links {
            link.master = None;
            link.up = link.index != BRIDGE;
        }
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), ["cni0-down cni0"]);
        assert!(diagnosis.findings[0].evidence[1].starts_with("2 veths of pods"));
    }

    #[test]
    fn a_deleted_bridge_is_told_on_a_node_whose_uplink_is_a_veth_with_host_routes() {
        let plan = Plan::of(2, Pass::SubnetEnv);
        let mut evidence = plan.evidence();
        let tables = tables(&mut evidence);
        tables.links.retain(|link| link.index != BRIDGE);
        tables.addresses.retain(|it| it.ifindex != BRIDGE);
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
        tables.routes.push(via(plan.gateway().into(), None, UPLINK));
        for link in &mut tables.links {
            link.master = None;
            if link.index == UPLINK {
                link.kind = Some("veth".to_owned());
                link.lower_elsewhere = true;
            }
        }
        assert_eq!(told(&judge(&mut evidence)), ["cni0-down cni0"]);
    }

    #[test]
    fn the_name_alone_makes_no_bridge_of_pods() {
        let plan = Plan { pods: 0, ..Plan::of(2, Pass::SubnetEnv) };
        let mut evidence = plan.evidence();
        let role = |evidence: &Evidence| {
            detect_roles(evidence.tables.as_ref().unwrap(), &evidence.intent).unwrap().bridge
        };
        tables(&mut evidence).links.push(link(BRIDGE, "cni0", Some("bridge")));
        assert_eq!(role(&evidence), None);
        let mut port = link(VETH, "veth0", Some("veth"));
        port.master = Some(BRIDGE);
        tables(&mut evidence).links.push(port);
        assert_eq!(role(&evidence), Some(BRIDGE));
    }
}
