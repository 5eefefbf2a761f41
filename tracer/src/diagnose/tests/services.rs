//! What a loss of packets to a service hits.

use std::net::IpAddr;

use super::super::{
    Diagnosis,
    testing::{Pass, Plan, judge_ipv4, peer_traffic, told},
};
use crate::{
    evidence::{Evidence, Flow, StageCounts},
    topology::nth_address,
};

/// A node one of whose peers misses 40 packets behind pod_out, with a flow to a service that is
/// translated to this address and port.
fn losing(plan: &Plan, to: Option<IpAddr>, port: Option<u16>) -> Evidence {
    let mut evidence = plan.evidence();
    let of_peer = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    of_peer.packets.pod_out += 40;
    (of_peer.lost.pod_to_overlay, of_peer.lost_early.pod_to_overlay) = (40, 20);
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    flows.push(Flow {
        source: nth_address(plan.own_cidr(), 9),
        destination: [10, 96, 0, 10].into(),
        protocol: 17,
        source_port: 40_000,
        destination_port: 53,
        packets: StageCounts { pod_out: 40, ..StageCounts::default() },
        leaked: 0,
        born_in_window: false,
        outer_source: None,
        translated_destination: to,
        translated_port: port,
        asked_as: None,
    });
    evidence
}

fn impact(diagnosis: &Diagnosis) -> (u64, u64) {
    let impact = &diagnosis.findings[0].impact;
    (impact.packets, impact.flows)
}

#[test]
fn a_lost_flow_to_a_service_is_in_the_impact_of_the_peer_behind_it() {
    let plan = Plan::of(3, Pass::PeersFile);
    let pod = nth_address(plan.hit_cidr(), 7);
    let diagnosis = judge_ipv4(&mut losing(&plan, Some(pod), Some(5353)));
    assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
    assert_eq!(impact(&diagnosis), (40, 1));
}

#[test]
fn a_flow_to_a_service_that_leads_elsewhere_or_nobody_knows_where_is_in_no_impact() {
    let plan = Plan::of(3, Pass::PeersFile);
    let other = plan.peers().find(|node| *node != plan.hit()).unwrap();
    let own = nth_address(plan.own_cidr(), 7);
    for (to, port) in [
        (None, None),
        (Some(nth_address(plan.hit_cidr(), 7)), None),
        (Some(nth_address(plan.cidr(other), 7)), Some(53)),
        (Some(own), Some(53)),
        (Some([192, 0, 2, 1].into()), Some(53)),
    ] {
        let diagnosis = judge_ipv4(&mut losing(&plan, to, port));
        assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
        assert_eq!(impact(&diagnosis), (40, 0), "{to:?} {port:?}");
    }
}

#[test]
fn a_flow_to_a_service_that_goes_on_under_the_pods_address_is_one() {
    let plan = Plan::of(3, Pass::PeersFile);
    let pod = nth_address(plan.hit_cidr(), 7);
    let mut evidence = losing(&plan, Some(pod), Some(5353));
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    let then = Flow {
        destination: pod,
        destination_port: 5353,
        packets: StageCounts { overlay_out: 40, wire_out: 40, ..StageCounts::default() },
        translated_destination: None,
        translated_port: None,
        ..flows.last().unwrap().clone()
    };
    flows.push(then.clone());
    assert_eq!(impact(&judge_ipv4(&mut evidence)), (40, 0), "all of its packets arrived");
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    let last = flows.last_mut().unwrap();
    last.packets = StageCounts::default();
    last.leaked = 40;
    assert_eq!(impact(&judge_ipv4(&mut evidence)), (40, 1), "lost on this node, once");
}
