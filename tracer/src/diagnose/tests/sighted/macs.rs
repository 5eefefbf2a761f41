//! MACs of tunnel ends: entries and frames that do not agree.

use super::{
    super::super::{
        Severity, diagnose,
        testing::{Pass, fdb, mac, neighbour, peer_traffic},
    },
    *,
};
use crate::evidence::PeerIntent;

/// A MAC that nobody has.
const NEW: MacAddress = MacAddress([2, 0, 0x5e, 0, 0x53, 9]);

fn for_mac(plan: &Plan, destination: MacAddress) -> Sight {
    Sight::OtherMac { destination, source: mac(plan.hit()), address: pod(plan) }
}

/// The list of nodes names this node too.
fn announce(evidence: &mut Evidence, plan: &Plan, own: MacAddress) {
    let intent = PeerIntent { vtep_mac: Some(own), ..plan.peer_intent(plan.own) };
    evidence.intent.peers.push(intent);
}

/// The FDB sends packets of the peer that is hit to another peer's node.
fn send_to_other(evidence: &mut Evidence, plan: &Plan) {
    let other = plan.node_ip(plan.peers().next().unwrap());
    let entries = &mut tables(evidence).fdb;
    entries.iter_mut().filter(|it| it.mac == mac(plan.hit())).for_each(|entry| {
        entry.destination = Some(other);
    });
    silence(evidence, plan, plan.hit());
}

#[test]
fn an_fdb_entry_that_names_another_peers_node_is_told_by_a_list_of_nodes() {
    for plan in plans(&[3, 5]) {
        let mut evidence = plan.evidence();
        send_to_other(&mut evidence, &plan);
        let known = plan.pass == Pass::PeersFile;
        let code = if known { "fdb-entry-wrong-node" } else { "tunnel-one-way" };
        assert_one(&mut evidence, &format!("{code} {}", plan.hit_cidr()), Severity::Critical);
    }
}

#[test]
fn an_fdb_entry_for_another_host_than_a_node_is_not_told_as_another_nodes() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    for entry in &mut tables(&mut evidence).fdb {
        if entry.mac == mac(plan.hit()) {
            entry.destination = Some(plan.node_ip(90));
        }
    }
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}

#[test]
fn frames_for_the_mac_of_another_peer_come_to_the_wrong_node() {
    for plan in plans(&[3, 5]) {
        let mut evidence = plan.evidence();
        lose_at_overlay(&mut evidence, &plan, plan.hit());
        see(&mut evidence, "flannel.1", for_mac(&plan, mac(plan.peers().next().unwrap())), 40);
        let expected = format!("fdb-entry-wrong-node {}", plan.hit_cidr());
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert_eq!(diagnosis.findings[0].subject.peer, Some(plan.node_ip(plan.hit())));
    }
}

#[test]
fn a_peer_whose_packets_carry_another_mac_than_its_entries() {
    for plan in plans(&[2, 3, 5]) {
        let mut evidence = plan.evidence();
        let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
        traffic.inner_source_mac = Some(NEW);
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (10, 5);
        let expected = format!("peer-vtep-mac-changed {}", plan.hit_cidr());
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert_eq!(diagnosis.findings[0].subject.vtep_mac, Some(NEW));
    }
}

#[test]
fn a_list_of_nodes_names_another_mac_than_a_peers_entries() {
    let plan = Plan::of(3, Pass::PeersFile);
    let name_new = |evidence: &mut Evidence| {
        let peers = &mut evidence.intent.peers;
        let hit = peers.iter_mut().find(|peer| peer.pod_cidr == plan.hit_cidr()).unwrap();
        hit.vtep_mac = Some(NEW);
    };
    let mut evidence = plan.evidence();
    silence(&mut evidence, &plan, plan.hit());
    name_new(&mut evidence);
    let expected = format!("peer-vtep-mac-changed {}", plan.hit_cidr());
    assert_one(&mut evidence, &expected, Severity::Critical);
    // Packets of the peer carry the MAC of the entries: the list is old.
    let mut evidence = plan.evidence();
    name_new(&mut evidence);
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}

#[test]
fn macs_of_packets_that_took_another_way_or_came_before_the_window() {
    // By way of another node, whose address and MAC they carry.
    assert_healthy(3, |evidence, plan| {
        let other = plan.peers().next().unwrap();
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.outer_source, traffic.inner_source_mac) = (Some(plan.node_ip(other)), Some(NEW));
    });
    assert_healthy(3, |evidence, plan| {
        let other = plan.peers().next().unwrap();
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        traffic.inner_source_mac = Some(mac(other));
    });
    // No packet came of late: the MAC is from whenever one did.
    assert_healthy(3, |evidence, plan| {
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        traffic.inner_source_mac = Some(NEW);
        traffic.early = traffic.packets;
    });
}

#[test]
fn a_sender_that_did_not_follow_is_told_where_this_nodes_mac_is_as_announced() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        announce(&mut evidence, &plan, OWN_MAC);
        lose_at_overlay(&mut evidence, &plan, plan.hit());
        see(&mut evidence, "flannel.1", for_mac(&plan, NEW), 40);
        let expected = format!("peer-vtep-mac-changed {}", plan.hit_cidr());
        assert_one(&mut evidence, &expected, Severity::Critical);
    }
}

#[test]
fn frames_for_an_unknown_mac_alone_name_no_cause() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        lose_at_overlay(&mut evidence, &plan, plan.hit());
        see(&mut evidence, "flannel.1", for_mac(&plan, NEW), 40);
        let expected = format!("unexplained-loss {}", plan.hit_cidr());
        assert_one(&mut evidence, &expected, Severity::Warning);
    }
}

#[test]
fn a_flood_that_reaches_other_hosts_too() {
    assert_healthy(3, |evidence, plan| {
        let outside = OUTSIDE.parse().unwrap();
        let source = mac(plan.hit());
        let of_others = Sight::OtherMac { destination: NEW, source, address: outside };
        see(evidence, "flannel.1", of_others, 40);
        see_early(evidence, "flannel.1", for_mac(plan, mac(0)), 40, 40);
        see_early(evidence, "flannel.1", for_mac(plan, NEW), 40, 0);
    });
}

#[test]
fn frames_for_an_unknown_mac_tell_a_rewritten_one_from_deleted_neighbours() {
    for plan in plans(&[2, 3]) {
        let broken = || {
            let mut evidence = plan.evidence();
            let own = tables(&mut evidence);
            own.neighbours.retain(|it| it.ifindex != OVERLAY || it.address.is_ipv6());
            // The link-local address was made of the MAC that is there now.
            for node in plan.peers() {
                silence(&mut evidence, &plan, node);
                let traffic = peer_traffic(&mut evidence, plan.cidr(node)).unwrap();
                traffic.packets.wire_out = 0;
                traffic.early.wire_out = 0;
            }
            evidence
        };
        let mut evidence = broken();
        see(&mut evidence, "flannel.1", for_mac(&plan, NEW), 40);
        assert_one(&mut evidence, "flannel-mac-rewritten flannel.1", Severity::Critical);
        let missing = judge(&mut broken());
        assert!(missing.findings.iter().all(|it| it.code == "neigh-entry-missing"));
        assert!(!missing.findings.is_empty());
    }
}

#[test]
fn a_peer_with_this_nodes_mac_by_its_entries_or_its_packets() {
    for plan in plans(&[2, 3, 5]) {
        let expected = format!("duplicate-vtep-mac {}", plan.hit_cidr());
        let mut evidence = plan.evidence();
        let node = plan.node_ip(plan.hit());
        see(&mut evidence, "eth0", Sight::OwnMac { source: node }, 40);
        silence(&mut evidence, &plan, plan.hit());
        assert_one(&mut evidence, &expected, Severity::Critical);

        let mut evidence = plan.evidence();
        evidence.intent.peers.iter_mut().for_each(|it| it.vtep_mac = None);
        let gateway = plan.hit_cidr().network();
        let tables = tables(&mut evidence);
        tables.neighbours.retain(|entry| entry.address != gateway);
        tables.neighbours.push(neighbour(OVERLAY, gateway, OWN_MAC));
        tables.fdb.retain(|entry| entry.mac != mac(plan.hit()));
        tables.fdb.push(fdb(OWN_MAC, node));
        silence(&mut evidence, &plan, plan.hit());
        assert_one(&mut evidence, &expected, Severity::Critical);
    }
}

#[test]
fn an_old_fdb_entry_with_this_nodes_mac_and_packets_of_no_node() {
    assert_healthy(3, |evidence, plan| {
        tables(evidence).fdb.push(fdb(OWN_MAC, plan.node_ip(plan.hit())));
        see(evidence, "eth0", Sight::OwnMac { source: plan.node_ip(90) }, 40);
        let source = plan.node_ip(plan.hit());
        see_early(evidence, "eth0", Sight::OwnMac { source }, 40, 40);
    });
}

#[test]
fn an_older_mac_over_full_tables_is_healthy_whatever_is_in_the_list() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    set_own_mac(&mut evidence, NEW);
    announce(&mut evidence, &plan, NEW);
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}
