//! The judgement: evidence in, findings out.
//!
//! Pure: no I/O, no clock, no privileges. Each rule lives in its own file, knows no other rule and
//! speaks only where its proof is there; [`merge`] makes one finding of one fault.

mod case;
mod cni0_down;
mod cni0_wrong_address;
mod dead_pods;
mod default_route_missing;
mod fdb_entry_dead_node_ip;
mod fdb_entry_missing;
mod fdb_entry_to_self;
mod finding;
mod flannel_address_missing;
mod flannel_link_down;
mod flannel_link_flapped;
mod flannel_link_missing;
mod flannel_link_recreated_empty;
mod flannel_mac_rewritten;
mod flannel_wrong_interface;
mod flow;
mod ignore;
mod impact;
mod ip_forward_off;
mod life;
mod merge;
mod misdirected;
mod neigh_entry_missing;
mod neigh_entry_wrong_peer;
mod neigh_mac_not_in_fdb;
mod node_ip_changed;
mod peer_node_silent;
mod peer_node_unreachable;
mod peers;
mod pod_address_gone;
mod pod_mtu_larger_than_tunnel;
mod pod_route_blackholed;
mod pod_route_missing;
mod pod_route_wrong_device;
mod pod_veth_detached;
mod pods;
mod policy_rule_hijacks_pod_route;
mod remedy;
mod rule;
mod silence;
mod steady;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tunnel_fragments_outer;
mod tunnel_one_way;
mod underlay;
mod unexplained_loss;
mod unmapped;
mod unseen;
mod uplink_down;
mod verdict;
mod vtep_source_address_lost;
mod vxlan_module_missing;
mod vxlan_port_taken;

use std::net::IpAddr;

use ipnet::IpNet;

use self::{
    case::Case,
    rule::{Rule, Ruling},
};
use crate::evidence::Evidence;

pub use self::{
    finding::{Confidence, Finding, Impact, Precision, Severity, Since, Subject, SubjectKind},
    flow::lost_after,
    ignore::{Ignored, UnknownCode},
    peers::{PeerState, PeerVerdict},
    verdict::{Coverage, exit_status},
};

/// Every rule. A new fault is a new file and a line here.
const RULES: [Rule; 34] = [
    flannel_link_missing::RULE,
    flannel_link_down::RULE,
    cni0_down::RULE,
    cni0_wrong_address::RULE,
    ip_forward_off::RULE,
    tunnel_fragments_outer::RULE,
    pod_mtu_larger_than_tunnel::RULE,
    flannel_link_flapped::RULE,
    flannel_link_recreated_empty::RULE,
    flannel_address_missing::RULE,
    flannel_mac_rewritten::RULE,
    pod_route_missing::RULE,
    pod_route_blackholed::RULE,
    pod_route_wrong_device::RULE,
    policy_rule_hijacks_pod_route::RULE,
    default_route_missing::RULE,
    neigh_entry_missing::RULE,
    fdb_entry_missing::RULE,
    fdb_entry_to_self::RULE,
    neigh_mac_not_in_fdb::RULE,
    neigh_entry_wrong_peer::RULE,
    vtep_source_address_lost::RULE,
    uplink_down::RULE,
    peer_node_unreachable::RULE,
    flannel_wrong_interface::RULE,
    vxlan_port_taken::RULE,
    vxlan_module_missing::RULE,
    fdb_entry_dead_node_ip::RULE,
    node_ip_changed::RULE,
    peer_node_silent::RULE,
    pod_veth_detached::RULE,
    pod_address_gone::RULE,
    tunnel_one_way::RULE,
    unexplained_loss::RULE,
];

/// What the evidence of one node says.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The address of this node's tunnel end.
    pub node_ip: Option<IpAddr>,
    /// The pod CIDRs of this node.
    pub pod_cidrs: Vec<IpNet>,
    /// What is wrong: most severe first, most certain first, then in the order of subjects.
    pub findings: Vec<Finding>,
    /// Every peer, in the order of CIDRs.
    pub peers: Vec<PeerVerdict>,
    /// How much was observed.
    pub coverage: Coverage,
    /// What could not be checked, and why.
    pub unseen: Vec<String>,
}

/// Judges the evidence of one node.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    diagnose_but(evidence, &[])
}

/// Judges the evidence of one node, but for findings that are to be ignored: what only these
/// explain is not explained then.
#[must_use]
pub fn diagnose_but(evidence: &Evidence, ignored: &[Ignored]) -> Diagnosis {
    let cases = Case::all_of(evidence);
    let Ruling { judged, mut unseen } = rule_on_all(&cases);
    let (judged, passing) = steady::steady(judged, evidence);
    unseen.extend(passing);
    let mut causes = merge::merge(judged);
    unseen.extend(ignore::take_out(&mut causes, ignored));
    let peers: Vec<PeerVerdict> =
        cases.iter().flat_map(|case| peers::verdicts(case, &causes)).collect();
    let coverage = Coverage::of(evidence, &cases, &peers);
    let unseen = unseen::lines(evidence, &cases, &causes, unseen);
    Diagnosis {
        node_ip: cases.iter().find_map(Case::node_ip),
        pod_cidrs: cases.iter().flat_map(|case| case.topology.own_cidrs.clone()).collect(),
        findings: causes.into_iter().map(|cause| cause.into_finding(&cases)).collect(),
        peers,
        coverage,
        unseen,
    }
}

/// What all rules say of each IP version.
fn rule_on_all(cases: &[Case<'_>]) -> Ruling {
    let mut all = Ruling::default();
    for (case, rule) in cases.iter().flat_map(|case| RULES.iter().map(move |rule| (case, rule))) {
        let ruling = (rule.judge)(case);
        all.judged.extend(ruling.judged);
        all.unseen.extend(ruling.unseen);
    }
    all
}
