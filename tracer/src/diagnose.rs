//! The judgement: evidence in, findings out.
//!
//! Pure: no I/O, no clock, no privileges. Each rule lives in its own file, knows no other rule and
//! speaks only where its proof is there; [`merge`] makes one finding of one fault.

mod blocked;
mod bpf_or_tc_drops;
mod bridge_nf_call_off;
mod bridge_ports;
mod case;
mod cni0_down;
mod cni0_wrong_address;
mod conntrack_insert_race;
mod conntrack_table_full;
mod counted;
mod dead_pods;
mod default_route_missing;
mod dns_answer_late;
mod dns_error_rcode;
mod dns_pods;
mod dns_query_dropped;
mod dns_server_overloaded;
mod dns_server_port_closed;
mod dns_servers;
mod dns_service_no_endpoints;
mod dns_service_rules_missing;
mod dns_trouble;
mod dns_unexplained;
mod dns_upstreams;
mod dropped;
mod drops;
mod duplicate_pod_address;
mod duplicate_pod_ip;
mod duplicate_vtep_mac;
mod egress_dropped;
mod fdb_entry_dead_node_ip;
mod fdb_entry_missing;
mod fdb_entry_to_self;
mod fdb_entry_wrong_node;
mod finding;
mod firewall;
mod flannel_address_missing;
mod flannel_link_down;
mod flannel_link_flapped;
mod flannel_link_missing;
mod flannel_link_recreated_empty;
mod flannel_mac_rewritten;
mod flannel_wrong_interface;
mod flanneld_memory_near_limit;
mod flanneld_not_running;
mod flanneld_oom_killed;
mod flow;
mod fw_drops_at_ports;
mod fw_drops_forwarded;
mod fw_drops_pod_to_node;
mod fw_drops_vxlan;
mod fw_drops_vxlan_input;
mod fw_drops_vxlan_output;
mod fw_rejects_forwarded;
mod fw_rejects_vxlan;
mod ignore;
mod impact;
mod inner_ip_damaged;
mod ip_forward_off;
mod joined;
mod judgement;
mod l3_uplink_daemon_stuck;
mod leak_to_unassigned_cidr;
mod life;
mod masquerade_rules_missing;
mod memory;
mod merge;
mod misdirected;
mod missing;
mod narrow;
mod neigh_entry_missing;
mod neigh_entry_wrong_peer;
mod neigh_mac_not_in_fdb;
mod neigh_table_overflow;
mod node_ip_changed;
mod odd_one_out;
mod outer_df_set;
mod outer_fragments_dropped;
mod path_mtu_blackhole;
mod peer_node_route_broken;
mod peer_node_silent;
mod peer_node_unreachable;
mod peer_vtep_mac_changed;
mod peer_vtep_not_listening;
mod peers;
mod pmtud_icmp_blocked;
mod pod_address_gone;
mod pod_mtu_larger_than_tunnel;
mod pod_neighbour_stale_mac;
mod pod_policy_drops;
mod pod_port_closed;
mod pod_route_blackholed;
mod pod_route_missing;
mod pod_route_wrong_device;
mod pod_veth_detached;
mod pods;
mod policy_rule_hijacks_pod_route;
mod probed;
mod refusing_route;
mod remedy;
mod rp_filter_drops_inner;
mod rp_filter_drops_outer;
mod rule;
mod service_addresses;
mod service_no_endpoints;
mod sighted;
mod silence;
mod steady;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tunnel_fragments_outer;
mod tunnel_one_way;
mod underlay;
mod underlay_neighbour_wrong_mac;
mod unexplained_loss;
mod unmapped;
mod unread;
mod unseen;
mod uplink_down;
mod uplink_queue_overlimit;
mod verdict;
mod vip;
mod vip_answered_but_no_service_rules;
mod vip_answered_but_policy_drops;
mod vip_arp_suppressed_by_sysctl;
mod vip_arp_two_macs;
mod vip_arp_unanswered;
mod vip_backends;
mod vip_conflicts_with_foreign_host;
mod vni_mismatch;
mod vtep_source_address_lost;
mod vxlan_header_malformed;
mod vxlan_module_missing;
mod vxlan_port_mismatch;
mod vxlan_port_taken;
mod vxlan_udp_checksum_bad;

use std::net::IpAddr;

use ipnet::IpNet;

use self::{judgement::Judgement, rule::Rule};
use crate::evidence::Evidence;

pub use self::{
    drops::UNEXPLAINED,
    finding::{Confidence, Finding, Impact, Precision, Severity, Since, Subject, SubjectKind},
    flow::{Followed, followed, lost_after},
    ignore::{Ignored, UnknownCode},
    joined::{Joined, JoinedFinding, JoinedNode, SameNode, diagnose_joined, exit_status_joined},
    peers::{PeerState, PeerVerdict},
    verdict::{Coverage, exit_status},
};

/// Every rule. A new fault is a new file and a line here.
const RULES: [Rule; 89] = [
    flannel_link_missing::RULE,
    flannel_link_down::RULE,
    cni0_down::RULE,
    cni0_wrong_address::RULE,
    ip_forward_off::RULE,
    outer_df_set::RULE,
    tunnel_fragments_outer::RULE,
    path_mtu_blackhole::RULE,
    outer_fragments_dropped::RULE,
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
    peer_node_route_broken::RULE,
    flannel_wrong_interface::RULE,
    vxlan_port_taken::RULE,
    vxlan_module_missing::RULE,
    rp_filter_drops_outer::RULE,
    bridge_nf_call_off::RULE,
    conntrack_table_full::RULE,
    neigh_table_overflow::RULE,
    flanneld_oom_killed::RULE,
    flanneld_memory_near_limit::RULE,
    flanneld_not_running::RULE,
    vni_mismatch::RULE,
    vxlan_port_mismatch::RULE,
    vxlan_header_malformed::RULE,
    fdb_entry_wrong_node::RULE,
    peer_vtep_mac_changed::RULE,
    duplicate_vtep_mac::RULE,
    duplicate_pod_address::RULE,
    duplicate_pod_ip::RULE,
    masquerade_rules_missing::RULE,
    leak_to_unassigned_cidr::RULE,
    fw_rejects_vxlan::RULE,
    fw_rejects_forwarded::RULE,
    pod_port_closed::RULE,
    peer_vtep_not_listening::RULE,
    fdb_entry_dead_node_ip::RULE,
    node_ip_changed::RULE,
    peer_node_silent::RULE,
    underlay_neighbour_wrong_mac::RULE,
    pod_veth_detached::RULE,
    pod_address_gone::RULE,
    // Pods' MACs.
    pod_neighbour_stale_mac::RULE,
    // DNS.
    dns_error_rcode::RULE,
    dns_answer_late::RULE,
    // DNS servers in pods of this node, and what loses queries on the way.
    dns_query_dropped::RULE,
    dns_server_overloaded::RULE,
    conntrack_insert_race::RULE,
    // Services by what netfilter does.
    dns_server_port_closed::RULE,
    dns_service_no_endpoints::RULE,
    service_no_endpoints::RULE,
    dns_service_rules_missing::RULE,
    // Firewalls.
    fw_drops_vxlan_input::RULE,
    fw_drops_vxlan_output::RULE,
    fw_drops_forwarded::RULE,
    fw_drops_pod_to_node::RULE,
    egress_dropped::RULE,
    l3_uplink_daemon_stuck::RULE,
    uplink_queue_overlimit::RULE,
    pmtud_icmp_blocked::RULE,
    tunnel_one_way::RULE,
    rp_filter_drops_inner::RULE,
    pod_policy_drops::RULE,
    bpf_or_tc_drops::RULE,
    vxlan_udp_checksum_bad::RULE,
    inner_ip_damaged::RULE,
    unexplained_loss::RULE,
    // VIPs.
    vip_arp_two_macs::RULE,
    vip_conflicts_with_foreign_host::RULE,
    vip_arp_unanswered::RULE,
    vip_arp_suppressed_by_sysctl::RULE,
    vip_answered_but_no_service_rules::RULE,
    vip_answered_but_policy_drops::RULE,
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
    /// The code of the finding that explains each drop, or `unexplained`: in the order of
    /// [`crate::evidence::Drops::entries`].
    pub drop_causes: Vec<&'static str>,
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
    let mut judgement = Judgement::of(evidence);
    judgement.ignore(ignored);
    judgement.conclude(&[])
}
