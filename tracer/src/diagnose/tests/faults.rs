//! Each fault applied to a healthy node, with three passes of intent, with and without packets.

use super::{
    super::{
        Confidence, PeerState, Severity, diagnose, exit_status,
        testing::{PASSES, Pass, Plan, dual, judge, tables, told, twin, twin_words},
    },
    injections::{
        blackhole, delete_bridge, delete_overlay, down_bridge, down_overlay, fail_neighbour,
        flap_overlay, lose_fdb, lose_neighbour, lose_route, lose_route_and_default,
    },
};
use crate::evidence::{Evidence, RouteKind};

/// A name, what it does, and the finding that must be told.
pub(super) type Fault = (&'static str, fn(&mut Evidence, &Plan), fn(&Plan) -> String);

/// The plans that every fault is tried on.
pub(super) fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for pass in PASSES {
        for nodes in [2, 3, 5] {
            for seconds in [0.0, 5.0] {
                plans.push(Plan { seconds, ..Plan::of(nodes, pass) });
            }
        }
    }
    plans
}

const FAULTS: [Fault; 12] = [
    ("route", lose_route, |plan| format!("pod-route-missing {}", plan.hit_cidr())),
    ("route and default", lose_route_and_default, |plan| {
        format!("pod-route-missing {}", plan.hit_cidr())
    }),
    (
        "blackhole",
        |evidence, plan| blackhole(evidence, plan, RouteKind::Blackhole),
        |plan| format!("pod-route-blackholed {}", plan.hit_cidr()),
    ),
    (
        "unreachable",
        |evidence, plan| blackhole(evidence, plan, RouteKind::Unreachable),
        |plan| format!("pod-route-blackholed {}", plan.hit_cidr()),
    ),
    (
        "prohibit",
        |evidence, plan| blackhole(evidence, plan, RouteKind::Prohibit),
        |plan| format!("pod-route-blackholed {}", plan.hit_cidr()),
    ),
    ("fdb", lose_fdb, |plan| format!("fdb-entry-missing {}", plan.hit_cidr())),
    ("neighbour", lose_neighbour, |plan| format!("neigh-entry-missing {}", plan.hit_cidr())),
    ("failed neighbour", fail_neighbour, |plan| format!("neigh-entry-missing {}", plan.hit_cidr())),
    ("overlay deleted", delete_overlay, |plan| format!("flannel-link-missing {}", plan.overlay)),
    ("overlay down", down_overlay, |plan| format!("flannel-link-down {}", plan.overlay)),
    ("overlay flapped", flap_overlay, |plan| {
        format!("flannel-link-flapped-state-lost {}", plan.overlay)
    }),
    ("bridge down", down_bridge, |plan| format!("cni0-down {}", plan.bridge)),
];

#[test]
fn each_fault_gives_its_finding_and_no_other() {
    assert_told(&FAULTS, Severity::Critical, &plans());
}

/// Each fault gives its finding and no other on each of the plans.
pub(super) fn assert_told(faults: &[Fault], severity: Severity, plans: &[Plan]) {
    for (name, fault, expected) in faults {
        for plan in plans {
            let mut evidence = plan.evidence();
            fault(&mut evidence, plan);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [expected(plan)], "{name}: {plan:?}");
            let finding = &diagnosis.findings[0];
            assert_eq!(finding.severity, severity, "{name}");
            assert_eq!(finding.confidence, Confidence::Certain, "{name}");
            assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty(), "{name}");
            assert!(finding.subject.interface.is_some(), "{name}");
            assert_told_beside_the_other_version(&evidence, plan, &expected(plan));
        }
    }
}

/// On a node of both IP versions a fault of one is told of that one. What the versions share, such
/// as an uplink that is down, is as in the broken evidence, and told once all the same.
fn assert_told_beside_the_other_version(faulty: &Evidence, plan: &Plan, expected: &str) {
    let healthy = plan.evidence();
    let (Some(healthy6), Some(faulty6)) = (twin(&healthy), twin(faulty)) else { return };
    let of_ipv4 = diagnose(&dual(faulty, &healthy6, faulty));
    assert_eq!(told(&of_ipv4), [expected], "of IPv4: {plan:?}");
    let of_ipv6 = diagnose(&dual(&healthy, &faulty6, &faulty6));
    // A cluster may have IPv6 for itself alone.
    let is_judged = !expected.starts_with("default-route-missing");
    let expected = Vec::from_iter(is_judged.then(|| twin_words(expected)));
    assert_eq!(told(&of_ipv6), expected, "of IPv6: {plan:?}");
}

#[test]
fn a_deleted_bridge_is_told_by_the_veths_it_left() {
    for plan in plans() {
        let mut evidence = plan.evidence();
        delete_bridge(&mut evidence, &plan);
        assert_eq!(told(&judge(&mut evidence)), ["cni0-down cni0"], "{plan:?}");
    }
}

#[test]
fn a_fault_of_one_peer_breaks_that_peer_alone() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    let states: Vec<_> = diagnosis.peers.iter().map(|peer| (peer.cidr, peer.state)).collect();
    assert_eq!(
        states,
        [(plan.cidr(0), PeerState::Ok), (plan.cidr(2), PeerState::Broken)],
        "{diagnosis:?}"
    );
}

#[test]
fn a_fault_of_the_node_breaks_every_peer() {
    let plan = Plan::of(4, Pass::PeersFile);
    for fault in [delete_overlay, down_overlay, flap_overlay, down_bridge] {
        let mut evidence = plan.evidence();
        fault(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        let states: Vec<PeerState> = diagnosis.peers.iter().map(|peer| peer.state).collect();
        assert_eq!(states, [PeerState::Broken; 3], "{diagnosis:?}");
    }
}

#[test]
fn the_impact_counts_a_leaked_packet_once() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    lose_route(&mut evidence, &plan);
    let diagnosis = judge(&mut evidence);
    assert_eq!(diagnosis.findings[0].impact.packets, 12);
    // They are no second loss between pod and overlay: where they went is known.
    assert_eq!(diagnosis.findings[0].breaks, [] as [String; 0]);
}

#[test]
fn two_faults_give_two_findings() {
    let plan = Plan::of(4, Pass::Tables);
    let mut evidence = plan.evidence();
    lose_fdb(&mut evidence, &plan);
    let other = plan.cidr(plan.peers().next().unwrap());
    tables(&mut evidence).routes.retain(|route| route.destination != other);
    assert_eq!(
        told(&judge(&mut evidence)),
        [format!("fdb-entry-missing {}", plan.hit_cidr()), format!("pod-route-missing {other}")]
    );
}

/// Nothing is found, the reason is told, and the exit status is not that of a healthy node.
pub(super) fn assert_not_judged(evidence: &mut Evidence, because: &str) {
    let diagnosis = judge(evidence);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert_eq!(exit_status(&diagnosis, evidence, Severity::Warning), 2);
    let line = format!("routes, neighbours and FDB entries were not judged: {because}");
    assert!(diagnosis.unseen.iter().any(|it| it.starts_with(&line)), "{:?}", diagnosis.unseen);
}
