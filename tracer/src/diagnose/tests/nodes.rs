//! The nodes of peers: where the FDB sends their packets, and whether they are alive.

use std::net::IpAddr;

use super::{
    super::{
        PeerState, Severity, diagnose,
        testing::{
            self, PASSES, Pass, Plan, UPLINK, dual, judge, judge_ipv4, mac, peer_traffic, tables,
            told, twin,
        },
    },
    faults::{Fault, assert_told},
    injections::make_one_way,
    underlay::{lose_beyond_overlay, set_node_entry},
};
use crate::evidence::{
    DropFlow, Evidence, IcmpError, NeighbourState, Sight, Sighting, StageCounts,
};

/// A node of no plan, on the LAN.
const NOBODY: u8 = 77;
/// An address that is on no link of the node.
const ELSEWHERE: &str = "198.51.100.7";
/// A second uplink.
const SECOND: u32 = 3;

/// The plans in which a peers file names every node, so long observed.
fn plans(seconds: &[f64]) -> Vec<Plan> {
    let of = |nodes| seconds.iter().map(move |it| (nodes, *it));
    let plans = [2, 3, 5].into_iter().flat_map(of);
    plans.map(|(nodes, seconds)| Plan { seconds, ..Plan::of(nodes, Pass::PeersFile) }).collect()
}

fn send_to(evidence: &mut Evidence, plan: &Plan, address: IpAddr) {
    let entries = tables(evidence).fdb.iter_mut().filter(|entry| entry.mac == mac(plan.hit()));
    entries.for_each(|entry| entry.destination = Some(address));
}

/// An unused address of the LAN, for which nobody answers ARP.
fn send_to_nobody(evidence: &mut Evidence, plan: &Plan) {
    send_to(evidence, plan, plan.node_ip(NOBODY));
    set_node_entry(evidence, plan, NOBODY, NeighbourState::Failed, 1.0);
    lose_beyond_overlay(evidence, plan, [plan.hit()].into_iter());
}

/// An address behind the gateway. The peer itself goes on sending, and is not answered.
fn send_elsewhere(evidence: &mut Evidence, plan: &Plan) {
    send_to(evidence, plan, ELSEWHERE.parse().unwrap());
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (30, 15);
    // The other half are answers to what it asks.
    (traffic.asking_out, traffic.answered, traffic.addresses_silent) = (70, Some(0), 2);
}

/// The same, and nothing comes from the peer.
fn send_elsewhere_in_silence(evidence: &mut Evidence, plan: &Plan) {
    send_to(evidence, plan, ELSEWHERE.parse().unwrap());
    make_one_way(evidence, plan);
}

/// The uplink knows the node where the peers file says that it is.
fn confirm(evidence: &mut Evidence, plan: &Plan, age: f64) {
    set_node_entry(evidence, plan, plan.hit(), NeighbourState::Reachable, age);
    let entries = tables(evidence).neighbours.iter_mut();
    let entries =
        entries.filter(|it| it.ifindex == UPLINK && it.address == plan.node_ip(plan.hit()));
    entries.for_each(|entry| entry.confirmed_age = Some(age));
}

fn dead(plan: &Plan) -> String {
    format!("fdb-entry-dead-node-ip {}", plan.hit_cidr())
}

#[test]
fn an_fdb_entry_that_names_an_address_of_no_node() {
    let on_link: [Fault; 1] = [("on-link", send_to_nobody, dead)];
    assert_told(&on_link, Severity::Critical, &plans(&[0.0, 5.0]));
    let routed: [Fault; 2] =
        [("routed", send_elsewhere, dead), ("silent", send_elsewhere_in_silence, dead)];
    assert_told(&routed, Severity::Critical, &plans(&[5.0]));
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    send_to_nobody(&mut evidence, &plan);
    let finding = &judge(&mut evidence).findings[0];
    assert_eq!(finding.subject.peer, Some(plan.node_ip(plan.hit())));
    let breaks = ["ARP for 192.168.77.87", "packets of 10.244.2.0/24 after overlay_out"];
    assert_eq!(finding.breaks, breaks);
    assert_eq!(finding.impact.packets, 40);
}

#[test]
fn without_a_list_of_nodes_only_what_became_of_the_packets_is_told() {
    let told_by = |fault: fn(&mut Evidence, &Plan), pass| {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        fault(&mut evidence, &plan);
        told(&judge(&mut evidence))
    };
    for pass in [Pass::Tables, Pass::SubnetEnv] {
        assert_eq!(told_by(send_to_nobody, pass), ["peer-node-unreachable-l2 10.244.2.0/24"]);
        assert_eq!(told_by(send_elsewhere, pass), ["unexplained-loss 10.244.2.0/24"]);
        assert_eq!(told_by(send_elsewhere_in_silence, pass), ["tunnel-one-way 10.244.2.0/24"]);
    }
}

#[test]
fn a_node_that_moved_and_whose_tunnel_did_not() {
    let moved = |plan: &Plan| format!("node-ip-changed-peers-stale {}", plan.hit_cidr());
    let on_link = |evidence: &mut Evidence, plan: &Plan| {
        send_to_nobody(evidence, plan);
        confirm(evidence, plan, 3.0);
    };
    let routed = |evidence: &mut Evidence, plan: &Plan| {
        send_elsewhere_in_silence(evidence, plan);
        confirm(evidence, plan, 3.0);
    };
    let faults: [Fault; 2] = [("on-link", on_link, moved), ("routed", routed, moved)];
    assert_told(&faults, Severity::Critical, &plans(&[5.0]));
}

#[test]
fn a_node_that_moved_is_told_only_when_it_lives_and_its_tunnel_is_silent() {
    let told_with = |change: &dyn Fn(&mut Evidence, &Plan)| {
        let plan = Plan::of(3, Pass::PeersFile);
        let mut evidence = plan.evidence();
        change(&mut evidence, &plan);
        told(&judge(&mut evidence))
    };
    let expected = [dead(&Plan::of(3, Pass::PeersFile))];
    // Its tunnel sends from where the peers file says.
    let speaks = |evidence: &mut Evidence, plan: &Plan| {
        send_elsewhere(evidence, plan);
        confirm(evidence, plan, 3.0);
    };
    assert_eq!(told_with(&speaks), expected);
    // Nothing was heard of it for long.
    let long_ago = |evidence: &mut Evidence, plan: &Plan| {
        send_elsewhere_in_silence(evidence, plan);
        confirm(evidence, plan, 300.0);
    };
    assert_eq!(told_with(&long_ago), expected);
}

/// Nothing is found with a peers file and this change.
fn assert_healthy(seconds: f64, change: impl Fn(&mut Evidence, &Plan)) -> Vec<String> {
    let plan = Plan { seconds, ..Plan::of(3, Pass::PeersFile) };
    let mut evidence = plan.evidence();
    change(&mut evidence, &plan);
    testing::assert_healthy(&mut evidence)
}

#[test]
fn a_node_whose_tunnel_has_another_address_than_the_peers_file_names_is_healthy() {
    // A second card: packets go there and come from there.
    assert_healthy(5.0, |evidence, plan| {
        let other: IpAddr = ELSEWHERE.parse().unwrap();
        send_to(evidence, plan, other);
        peer_traffic(evidence, plan.hit_cidr()).unwrap().outer_source = Some(other);
    });
    // NAT: packets go there, come from the node itself, and are answered.
    let unseen = assert_healthy(5.0, |evidence, plan| {
        send_to(evidence, plan, ELSEWHERE.parse().unwrap());
    });
    assert!(!unseen.iter().any(|line| line.contains(ELSEWHERE)), "{unseen:?}");
    // The same, and answers of one pod are forbidden.
    assert_healthy_but_for(&["unexplained-loss 10.244.2.0/24"], |evidence, plan| {
        send_to(evidence, plan, ELSEWHERE.parse().unwrap());
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.asking_out, traffic.answered, traffic.addresses_silent) = (30, Some(24), 2);
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (6, 3);
    });
    // The same of saved evidence that does not tell what was answered.
    assert_healthy_but_for(&["unexplained-loss 10.244.2.0/24"], |evidence, plan| {
        send_to(evidence, plan, ELSEWHERE.parse().unwrap());
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.asking_out, traffic.answered, traffic.addresses_asked) = (30, None, 2);
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (6, 3);
    });
    // It calls pods here all the time, and one of its own is dead.
    assert_healthy_but_for(&["unexplained-loss 10.244.2.0/24"], |evidence, plan| {
        send_to(evidence, plan, ELSEWHERE.parse().unwrap());
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.asking_out, traffic.answered, traffic.addresses_silent) = (30, Some(0), 1);
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (6, 3);
    });
    // The second card is silent for a moment, as anybody is whom nobody asks.
    assert_healthy(5.0, |evidence, plan| {
        let other: IpAddr = ELSEWHERE.parse().unwrap();
        send_to(evidence, plan, other);
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        traffic.packets = StageCounts::default();
        traffic.early = StageCounts::default();
        (traffic.asking_out, traffic.addresses_asked, traffic.outer_source) = (0, 0, None);
    });
}

/// These findings and no others, with a peers file and this change.
fn assert_healthy_but_for(expected: &[&str], change: impl Fn(&mut Evidence, &Plan)) {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    change(&mut evidence, &plan);
    assert_eq!(told(&judge(&mut evidence)), expected);
}

/// A machine answers packets of the tunnel with "port unreachable".
pub(super) fn refuse_tunnel(evidence: &mut Evidence, plan: &Plan, machine: IpAddr) {
    let quoted = DropFlow {
        source: plan.node_ip(plan.own),
        destination: machine,
        protocol: 17,
        source_port: 0,
        destination_port: 8472,
    };
    let receiver = quoted.source;
    let what =
        Sight::IcmpError(IcmpError { sender: machine, receiver, kind: 3, code: 3, mtu: 0, quoted });
    let sighting = Sighting { interface: "eth0".to_owned(), what, packets: 6, early: 3 };
    evidence.traffic.as_mut().unwrap().sightings.push(sighting);
}

#[test]
fn a_stranger_at_the_old_address_that_refuses_the_tunnel_is_no_fault_of_its_own() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    send_elsewhere_in_silence(&mut evidence, &plan);
    refuse_tunnel(&mut evidence, &plan, ELSEWHERE.parse().unwrap());
    assert_eq!(told(&judge(&mut evidence)), [dead(&plan)]);
}

#[test]
fn an_entry_left_over_on_another_uplink_says_nothing_of_a_node() {
    let unseen = assert_healthy(5.0, |evidence, plan| {
        let second = testing::link(SECOND, "eth1", None);
        let tables = tables(evidence);
        tables.links.push(second);
        let node = plan.node_ip(plan.hit());
        let entries = tables.neighbours.iter_mut();
        let entries = entries.filter(|it| it.ifindex == UPLINK && it.address == node);
        let mut failed: Vec<_> = entries.map(|it| it.clone()).collect();
        tables.neighbours.retain(|it| it.ifindex != UPLINK || it.address != node);
        failed.iter_mut().for_each(|it| (it.state, it.mac) = (NeighbourState::Failed, None));
        tables.neighbours.extend(failed);
        tables.neighbours.push(testing::neighbour(SECOND, node, mac(9)));
        evidence.roles.uplinks.push(SECOND);
    });
    assert!(!unseen.iter().any(|line| line.contains("does not answer")), "{unseen:?}");
}

#[test]
fn two_addresses_of_a_node_that_nobody_tried_are_a_line_and_no_finding() {
    let unseen = assert_healthy(0.0, |evidence, plan| {
        send_to(evidence, plan, ELSEWHERE.parse().unwrap());
    });
    let line = "whether the node of 10.244.2.0/24 is at 198.51.100.7";
    assert!(unseen.iter().any(|it| it.starts_with(line)), "{unseen:?}");
}

#[test]
fn an_address_that_is_another_peers_is_not_one_of_no_node() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    send_to(&mut evidence, &plan, plan.node_ip(0));
    make_one_way(&mut evidence, &plan);
    let told = told(&judge_ipv4(&mut evidence));
    assert!(!told.contains(&dead(&plan)), "{told:?}");
}

/// Silence of a peer, and what the uplink's neighbour entry for its node is.
fn silent_with(state: NeighbourState, updated: f64, confirmed: f64) -> (Vec<String>, Option<bool>) {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    confirm(&mut evidence, &plan, confirmed);
    let entries = tables(&mut evidence).neighbours.iter_mut();
    for entry in entries.filter(|it| it.address == plan.node_ip(plan.hit())) {
        (entry.state, entry.updated_age) = (state, Some(updated));
    }
    let diagnosis = judge(&mut evidence);
    let verdict = diagnosis.peers.iter().find(|peer| peer.cidr == plan.hit_cidr()).unwrap();
    assert_eq!(verdict.state, PeerState::Broken);
    (told(&diagnosis), verdict.alive)
}

#[test]
fn a_silent_peer_whose_node_answers_no_arp_is_a_silent_node() {
    let silent = ["peer-node-silent 10.244.2.0/24".to_owned()];
    let one_way = ["tunnel-one-way 10.244.2.0/24".to_owned()];
    for (state, updated, confirmed, expected, alive) in [
        (NeighbourState::Probe, 1.0, 50.0, &silent, Some(false)),
        // It is being asked just now.
        (NeighbourState::Probe, 0.01, 50.0, &one_way, None),
        (NeighbourState::Delay, 4.0, 40.0, &one_way, Some(true)),
        (NeighbourState::Reachable, 9.0, 9.0, &one_way, Some(true)),
        // Written by hand: the node never answered.
        (NeighbourState::Permanent, 1.0, 1.0, &one_way, None),
        (NeighbourState::Stale, 900.0, 900.0, &one_way, None),
    ] {
        let told = silent_with(state, updated, confirmed);
        assert_eq!(told, (expected.to_vec(), alive), "{state:?} {updated} {confirmed}");
    }
}

#[test]
fn a_node_that_falls_silent_while_the_window_lasts() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    confirm(&mut evidence, &plan, 40.0);
    assert_eq!(told(&judge(&mut evidence)), ["tunnel-one-way 10.244.2.0/24"]);
    let mut later = evidence.clone();
    set_node_entry(&mut later, &plan, plan.hit(), NeighbourState::Failed, 1.0);
    evidence.tables_after = later.tables;
    assert_eq!(told(&judge(&mut evidence)), ["peer-node-silent 10.244.2.0/24"]);
    // An uplink without carrier hears of nobody.
    let links = &mut evidence.tables_after.as_mut().unwrap().links;
    links.iter_mut().find(|link| link.index == UPLINK).unwrap().lower_up = false;
    assert_eq!(told(&diagnose(&evidence)), ["tunnel-one-way 10.244.2.0/24"]);
}

#[test]
fn a_node_whose_mac_was_given_up_while_the_window_lasted() {
    let plan = Plan::of(3, Pass::Tables);
    let unreachable = ["peer-node-unreachable-l2 10.244.2.0/24"];
    let unexplained = ["unexplained-loss 10.244.2.0/24"];
    for (early, packets, state, expected) in [
        (0, 0, NeighbourState::Incomplete, &unreachable[..]),
        (0, 0, NeighbourState::Delay, &unexplained),
        (4, 4, NeighbourState::Incomplete, &unreachable),
        (4, 4, NeighbourState::Failed, &unreachable),
        // It answered in the end.
        (4, 4, NeighbourState::Reachable, &unexplained),
        // Its MAC was known in the second half too.
        (20, 30, NeighbourState::Incomplete, &["tunnel-one-way 10.244.2.0/24"]),
    ] {
        let mut evidence = plan.evidence();
        make_one_way(&mut evidence, &plan);
        set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Probe, 2.9);
        let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
        (traffic.early.wire_out, traffic.packets.wire_out) = (early, packets);
        traffic.lost_early.overlay_to_wire = 20 - early;
        traffic.lost.overlay_to_wire = 40 - packets;
        let mut later = evidence.clone();
        set_node_entry(&mut later, &plan, plan.hit(), state, 0.1);
        evidence.tables_after = later.tables;
        assert_eq!(told(&judge(&mut evidence)), expected, "{early} {packets} {state:?}");
    }
}

/// The first packets for it came late in the window, and may have their answer soon.
#[test]
fn a_node_that_is_asked_for_at_the_end_of_the_window_is_not_dead() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.early, traffic.asking_out) = (StageCounts::default(), 0);
    (traffic.packets.wire_out, traffic.lost.overlay_to_wire) = (0, 3);
    let mut later = evidence.clone();
    set_node_entry(&mut later, &plan, plan.hit(), NeighbourState::Incomplete, 0.1);
    evidence.tables_after = later.tables;
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}

/// A router says that the node of the peer cannot be reached.
fn unreachable(plan: &Plan, sender: IpAddr, port: u16, [kind, code]: [u8; 2]) -> Sighting {
    let quoted = DropFlow {
        source: plan.node_ip(plan.own),
        destination: plan.node_ip(plan.hit()),
        protocol: 17,
        source_port: 0,
        destination_port: port,
    };
    let error = IcmpError { sender, receiver: quoted.source, kind, code, mtu: 0, quoted };
    let what = Sight::IcmpError(error);
    Sighting { interface: "eth0".to_owned(), what, packets: 3, early: 1 }
}

#[test]
fn a_silent_peer_whose_node_a_router_cannot_reach_is_a_silent_node() {
    let plan = Plan::of(3, Pass::Tables);
    let of_ipv4 = |sender, port, kind| {
        let mut evidence = plan.evidence();
        make_one_way(&mut evidence, &plan);
        let sighting = unreachable(&plan, sender, port, kind);
        evidence.traffic.as_mut().unwrap().sightings.push(sighting);
        evidence
    };
    let told_by = |sender, port, kind| told(&judge_ipv4(&mut of_ipv4(sender, port, kind)));
    let silent = ["peer-node-silent 10.244.2.0/24"];
    assert_eq!(told_by(plan.gateway(), 8472, [3, 1]), silent);
    assert_eq!(told_by(plan.gateway(), 8472, [3, 0]), silent);
    let one_way = ["tunnel-one-way 10.244.2.0/24"];
    assert_eq!(told_by(plan.gateway(), 53, [3, 1]), one_way, "about something else");
    assert_eq!(told_by(plan.gateway(), 8472, [3, 4]), one_way, "too big, and so on its way");
    assert_eq!(told_by(plan.node_ip(plan.hit()), 8472, [3, 1]), one_way, "it speaks itself");
    let twin = twin(&of_ipv4(plan.gateway(), 8472, [3, 1])).unwrap();
    assert_eq!(told(&diagnose(&twin)), ["peer-node-silent fd00:a:f4:2::/64"]);
}

#[test]
fn a_node_of_both_versions_that_is_silent_is_told_of_both() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    make_one_way(&mut evidence, &plan);
    set_node_entry(&mut evidence, &plan, plan.hit(), NeighbourState::Probe, 2.0);
    let both = dual(&evidence, &twin(&evidence).unwrap(), &evidence);
    let expected = ["peer-node-silent 10.244.2.0/24", "peer-node-silent fd00:a:f4:2::/64"];
    assert_eq!(told(&diagnose(&both)), expected);
}

#[test]
fn the_evidence_of_silence_says_what_is_known_of_the_node() {
    let line = |change: &dyn Fn(&mut Evidence, &Plan)| {
        let plan = Plan::of(3, Pass::Tables);
        let mut evidence = plan.evidence();
        make_one_way(&mut evidence, &plan);
        change(&mut evidence, &plan);
        judge(&mut evidence).findings[0].evidence[1].clone()
    };
    let unknown = line(&|_, _| {});
    assert!(unknown.ends_with("; whether its node is alive was not checked"), "{unknown}");
    let alive = line(&|evidence, plan| confirm(evidence, plan, 3.0));
    assert!(
        alive.ends_with(
            "; its node is alive: eth0 saw it confirmed by ARP 3 s before the tables were read"
        ),
        "{alive}"
    );
}

#[test]
fn a_peer_that_sends_is_alive_and_of_others_nothing_is_known() {
    for pass in PASSES {
        for (seconds, alive) in [(5.0, Some(true)), (0.0, None)] {
            let plan = Plan { seconds, ..Plan::of(3, pass) };
            let diagnosis = judge(&mut plan.evidence());
            assert!(diagnosis.peers.iter().all(|peer| peer.alive == alive), "{plan:?}");
        }
    }
}
