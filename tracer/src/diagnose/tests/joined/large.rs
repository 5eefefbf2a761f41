//! Large packets that one node sends and the other never gets.

use super::{
    super::super::{Confidence, Severity},
    *,
};
use crate::evidence::LargePackets;

const PATH: &str = "0: path-mtu-blackhole 10.244.1.0/24";

/// What the evidence of the other says of large packets that came in, and of all.
fn hears(evidence: &mut Evidence, plan: &Plan, large: u64) {
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    traffic.large = Some(LargePackets { wire_in: large, ..traffic.large.unwrap() });
}

fn hears_small_ones(evidence: &mut Evidence, plan: &Plan) {
    hears(evidence, plan, 0);
}

fn sends(evidence: &mut Evidence, plan: &Plan, [early, late]: [u64; 2]) {
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    let (wire_out, wire_out_early) = (early + late, early);
    traffic.large = Some(LargePackets { wire_out, wire_out_early, wire_in: 12 });
}

#[test]
fn large_packets_that_never_come_in_are_told_of_the_sender_whatever_is_answered() {
    let nodes = pair(Pass::Tables, healthy, hears_small_ones);
    assert_told(&nodes, &[PATH]);
    let finding = &judge(&nodes).findings[0].finding;
    assert_eq!((finding.severity, finding.confidence), (Severity::Critical, Confidence::Likely));
    assert!(finding.remedy[0].starts_with("flannel-tracer check --probe "), "{finding:?}");
    // What is felt of the loss is the same fault.
    let felt: Fault = |evidence, plan| {
        let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
        (traffic.asking_out, traffic.answered, traffic.addresses_silent) = (30, Some(10), 2);
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (12, 6);
    };
    assert_told(&pair(Pass::Tables, felt, hears_small_ones), &[PATH]);
}

#[test]
fn what_leaves_in_fragments_by_ipv4_is_lost_in_fragments() {
    let small_uplink: Fault = |evidence, _| {
        let uplinks = tables(evidence).links.iter_mut().filter(|it| it.name == "eth0");
        uplinks.for_each(|it| it.mtu = 1400);
    };
    let nodes = pair(Pass::Tables, small_uplink, hears_small_ones);
    let expected =
        ["0: outer-fragments-dropped 10.244.1.0/24", "0: tunnel-fragments-outer flannel.1"];
    assert_eq!(told(&judge(&nodes)), expected);
    // By IPv6 no outer packet is fragmented.
    let [first, second] = nodes.each_ref().map(|node| twin(node).unwrap());
    let told = told(&judge(&[first, second]));
    assert!(told.iter().any(|it| it.contains("path-mtu-blackhole")), "{told:?}");
}

#[test]
fn few_large_packets_or_one_that_comes_in_are_no_proof() {
    let told_of = |felt: Fault, fault: Fault| told(&judge(&pair(Pass::Tables, felt, fault)));
    let none = [""; 0];
    assert_eq!(told_of(healthy, |evidence, plan| hears(evidence, plan, 1)), none);
    // Too few, or in one half of the window alone.
    assert_eq!(told_of(|evidence, plan| sends(evidence, plan, [4, 5]), hears_small_ones), none);
    assert_eq!(told_of(|evidence, plan| sends(evidence, plan, [0, 20]), hears_small_ones), none);
    assert_eq!(told_of(|evidence, plan| sends(evidence, plan, [20, 0]), hears_small_ones), none);
    // Nothing else came in either: then it is no matter of the size.
    assert_eq!(
        told_of(healthy, |evidence, plan| {
            hears_small_ones(evidence, plan);
            let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
            (traffic.packets.wire_in, traffic.early.wire_in) = (4, 2);
        }),
        none
    );
    // Evidence of before they were counted.
    assert_eq!(
        told_of(healthy, |evidence, plan| {
            peer_traffic(evidence, plan.hit_cidr()).unwrap().large = None;
        }),
        none
    );
}

#[test]
fn what_a_queue_drops_or_windows_that_do_not_overlap_prove_nothing() {
    let full_queue: Fault = |evidence, _| {
        let statistics = evidence.statistics.get_or_insert_with(Statistics::default);
        let queue =
            QueueCounters { interface: "eth0".to_owned(), dropped: 5, ..QueueCounters::default() };
        statistics.queues.push(queue);
    };
    let nodes = pair(Pass::Tables, full_queue, hears_small_ones);
    assert!(!told(&judge(&nodes)).contains(&PATH.to_owned()));
    let mut nodes = pair(Pass::Tables, healthy, hears_small_ones);
    later(&mut nodes[1], 60);
    assert_eq!(told(&judge(&nodes)), [""; 0]);
}

#[test]
fn a_receiver_whose_own_uplink_is_too_small_tells_it_and_nobody_else() {
    let small_uplink: Fault = |evidence, plan| {
        let uplinks = tables(evidence).links.iter_mut().filter(|it| it.name == "eth0");
        uplinks.for_each(|it| it.mtu = 1400);
        hears_small_ones(evidence, plan);
    };
    let joined = judge(&pair(Pass::Tables, healthy, small_uplink));
    assert_eq!(told(&joined), ["1: tunnel-fragments-outer flannel.1"]);
    let breaks = &joined.findings[0].finding.breaks;
    assert!(breaks.iter().any(|it| it.starts_with("large packets to ")), "{breaks:?}");
}

#[test]
fn a_link_that_is_too_small_for_both_is_one_finding() {
    let nodes = pair(Pass::Tables, hears_small_ones, hears_small_ones);
    assert_told(&nodes, &[PATH]);
}

#[test]
fn windows_that_cover_one_another_by_half_prove_nothing() {
    let mut nodes = pair(Pass::Tables, healthy, hears_small_ones);
    let half = (nodes[1].window.seconds / 2.0).ceil() as i64;
    later(&mut nodes[1], half);
    assert_eq!(told(&judge(&nodes)), [""; 0]);
}
