//! VIPs whose pods lie behind a fault of the overlay.

use std::net::{IpAddr, SocketAddr};

use super::{
    super::{
        diagnose,
        testing::{Pass, Plan},
    },
    dns::lose_fdb_entry,
    vips::{vip, vip_of, with},
};
use crate::{
    evidence::{Flow, StageCounts},
    topology::nth_address,
};

/// What the finding breaks on a node without the FDB entry of a peer, where a flow from the node itself
/// goes to a pod, and was asked for under an address.
fn breaks(to: impl Fn(&Plan) -> IpAddr, asked_as: impl Fn(&Plan) -> IpAddr) -> Vec<String> {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = with(&plan, vip(&plan, Vec::new()));
    lose_fdb_entry(&mut evidence, &plan);
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    flows.push(Flow {
        source: nth_address(plan.own_cidr(), 0),
        destination: to(&plan),
        protocol: 6,
        destination_port: 8080,
        asked_as: Some(SocketAddr::new(asked_as(&plan), 80)),
        packets: StageCounts { overlay_out: 9, ..StageCounts::default() },
        ..flows[0].clone()
    });
    let diagnosis = diagnose(&evidence);
    let [finding] = &diagnosis.findings[..] else { panic!("{:?}", diagnosis.findings) };
    assert_eq!(finding.code, "fdb-entry-missing");
    finding.breaks.iter().filter(|it| it.starts_with("vip ")).cloned().collect()
}

#[test]
fn a_vip_whose_pod_is_behind_a_fault_is_among_what_it_breaks() {
    let hit = |plan: &Plan| nth_address(plan.hit_cidr(), 9);
    let other = |plan: &Plan| nth_address(plan.cidr(plan.peers().next().unwrap()), 9);
    let service = |_: &Plan| "10.96.0.80".parse().unwrap();
    let vip = vip_of(&Plan::of(3, Pass::PeersFile));
    assert_eq!(breaks(hit, vip_of), [format!("vip {vip}")]);
    assert_eq!(breaks(other, vip_of), [""; 0], "another peer's pod");
    assert_eq!(breaks(hit, service), [""; 0], "no VIP");
}
