//! `bpf-or-tc-drops`: programs of others that drop the tunnel's packets, and those that do not.

use super::super::{
    Confidence, Diagnosis, Severity,
    testing::{PASSES, POLICY, Pass, Plan, dropped, finds_nothing, judge, peer_traffic, told},
};
use crate::{
    evidence::{Drop, DropFlow, DropOuter, Drops, Evidence, HookDirection, Losses, StagePair},
    topology::nth_address,
};

/// Where a program can be, what it drops there, and between which stages that is missed.
const PLACES: [(&str, &str, bool, bool, StagePair); 9] = [
    ("flannel.1", "TC_INGRESS", false, false, StagePair::OverlayToPod),
    ("flannel.1", "TC_EGRESS", true, false, StagePair::PodToOverlay),
    ("flannel.1", "TC_EGRESS", true, false, StagePair::OverlayToWire),
    ("cni0", "TC_INGRESS", true, false, StagePair::PodToOverlay),
    ("cni0", "TC_EGRESS", false, false, StagePair::OverlayToPod),
    ("eth0", "TC_INGRESS", false, true, StagePair::WireToOverlay),
    ("eth0", "TC_EGRESS", true, true, StagePair::OverlayToWire),
    ("eth0", "XDP", false, true, StagePair::WireToOverlay),
    ("flannel.1", "XDP", false, false, StagePair::OverlayToPod),
];

/// A packet between a pod here and one of the hit peer, dropped by a program.
fn drop(plan: &Plan, device: &str, reason: &str, is_outward: bool, is_outer: bool) -> Drop {
    let turned = |[here, there]: [std::net::IpAddr; 2]| {
        if is_outward { (here, there) } else { (there, here) }
    };
    let (source, destination) =
        turned([nth_address(plan.own_cidr(), 9), nth_address(plan.hit_cidr(), 5)]);
    let outer = turned([plan.own, plan.hit()].map(|node| plan.node_ip(node)));
    let function =
        if reason == "TC_EGRESS" { "__dev_queue_xmit" } else { "__netif_receive_skb_core" };
    let drop = dropped();
    Drop {
        reason: Some(reason.to_owned()),
        symbol: Some(function.to_owned()),
        interface: Some(device.to_owned()),
        packets: 30,
        early: 15,
        flow: drop.flow.map(|flow| DropFlow { source, destination, ..flow }),
        outer: is_outer.then_some(DropOuter { source: outer.0, destination: outer.1 }),
        ..drop
    }
}

fn miss(evidence: &mut Evidence, plan: &Plan, pair: StagePair, (packets, early): (u64, u64)) {
    let losses = |packets| match pair {
        StagePair::PodToOverlay => Losses { pod_to_overlay: packets, ..Losses::default() },
        StagePair::OverlayToWire => Losses { overlay_to_wire: packets, ..Losses::default() },
        StagePair::WireToOverlay => Losses { wire_to_overlay: packets, ..Losses::default() },
        _ => Losses { overlay_to_pod: packets, ..Losses::default() },
    };
    let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
    (traffic.lost, traffic.lost_early) = (losses(packets), losses(early));
}

fn set_drops(evidence: &mut Evidence, entries: Vec<Drop>) {
    evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
}

/// A foreign program is known before the tracer's own. To be called after the hooks are there.
fn make_known(evidence: &mut Evidence, device: &str, direction: HookDirection) {
    let mut hooks = evidence.hooks.iter_mut();
    let hook = hooks.find(|it| it.interface == device && it.direction == direction);
    hook.unwrap().foreign = vec!["TCX program other".to_owned()];
}

/// The kernel of before Linux 5.18 gives no reason.
fn without_reason(pair: StagePair, known: Option<HookDirection>, drop: Drop) -> Diagnosis {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    miss(&mut evidence, &plan, pair, (30, 15));
    let device = drop.interface.clone().unwrap();
    set_drops(&mut evidence, vec![Drop { reason: None, ..drop }]);
    if let Some(direction) = known {
        make_known(&mut evidence, &device, direction);
    }
    super::super::diagnose(&evidence)
}

#[test]
fn a_program_that_drops_is_told_of_its_device() {
    for (device, reason, is_outward, is_outer, pair) in PLACES {
        for pass in PASSES {
            let plan = Plan::of(3, pass);
            let mut evidence = plan.evidence();
            miss(&mut evidence, &plan, pair, (30, 15));
            set_drops(&mut evidence, vec![drop(&plan, device, reason, is_outward, is_outer)]);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [format!("bpf-or-tc-drops {device}")], "{reason}");
            let finding = &diagnosis.findings[0];
            assert_eq!(finding.severity, Severity::Critical);
            assert_eq!((finding.confidence, finding.impact.packets), (Confidence::Certain, 30));
            assert!(finding.evidence[0].contains(reason), "{finding:?}");
            assert!(finding.remedy[0].contains(device), "{finding:?}");
            assert_eq!(diagnosis.drop_causes, ["bpf-or-tc-drops"]);
        }
    }
}

#[test]
fn without_headers_it_is_likely_where_pods_packets_alone_pass_and_as_many_are_missed() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let likely = format!("unexplained-loss {}", plan.hit_cidr());
    for (device, reason, pair, lost, expected) in [
        ("flannel.1", "TC_INGRESS", StagePair::OverlayToPod, 30, "bpf-or-tc-drops flannel.1"),
        ("cni0", "TC_INGRESS", StagePair::PodToOverlay, 30, "bpf-or-tc-drops cni0"),
        ("flannel.1", "TC_INGRESS", StagePair::OverlayToPod, 31, likely.as_str()),
        ("eth0", "TC_INGRESS", StagePair::OverlayToPod, 30, &likely),
        ("eth0", "TC_INGRESS", StagePair::WireToOverlay, 30, &likely),
        ("flannel.1", "SKB_CSUM", StagePair::OverlayToPod, 30, &likely),
        ("flannel.1", "TC_EGRESS", StagePair::OverlayToPod, 30, &likely),
        ("flannel.1", "XDP", StagePair::OverlayToPod, 30, &likely),
    ] {
        let mut evidence = plan.evidence();
        miss(&mut evidence, &plan, pair, (lost, 15));
        let dropped = Drop { flow: None, ..drop(&plan, device, reason, false, false) };
        set_drops(&mut evidence, vec![dropped]);
        evidence.drops.as_mut().unwrap().headers_read = false;
        // The twin of IPv6 has another EtherType, which this is not about.
        let diagnosis = super::super::diagnose(&evidence);
        assert_eq!(told(&diagnosis), [expected], "{device} {reason} {lost}");
        assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    }
}

#[test]
fn without_headers_policies_and_other_droppers_leave_it_open() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let evidence = |others: &[&str]| {
        let mut evidence = plan.evidence();
        miss(&mut evidence, &plan, StagePair::OverlayToPod, (30, 15));
        let reasons = others.iter().chain(&["TC_INGRESS"]);
        let drops = reasons.map(|reason| drop(&plan, "flannel.1", reason, false, false));
        set_drops(&mut evidence, drops.map(|drop| Drop { flow: None, ..drop }).collect());
        evidence.drops.as_mut().unwrap().headers_read = false;
        evidence
    };
    let unexplained = format!("unexplained-loss {}", plan.hit_cidr());
    for other in ["NETFILTER_DROP", "IP_RPFILTER"] {
        let diagnosis = super::super::diagnose(&evidence(&[other]));
        assert_eq!(told(&diagnosis), [unexplained.as_str()], "{other}");
    }
    let mut evidence = evidence(&[]);
    evidence.intent.policy_netfilter = vec![POLICY.to_owned()];
    let diagnosis = super::super::diagnose(&evidence);
    assert_eq!(told(&diagnosis), [""; 0]);
    assert!(diagnosis.unseen.iter().any(|it| it.contains("a program")), "{:?}", diagnosis.unseen);
}

#[test]
fn what_it_drops_of_packets_to_the_outside_is_the_same_finding() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    miss(&mut evidence, &plan, StagePair::PodToOverlay, (30, 15));
    let ours = drop(&plan, "cni0", "TC_INGRESS", true, false);
    let mut outside = ours.clone();
    outside.flow.as_mut().unwrap().destination = "192.0.2.7".parse().unwrap();
    set_drops(&mut evidence, vec![ours, outside.clone()]);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["bpf-or-tc-drops cni0"]);
    assert_eq!(diagnosis.drop_causes, ["bpf-or-tc-drops"; 2]);
    // Alone it may be meant: a filter for what leaves the cluster.
    let mut evidence = plan.evidence();
    set_drops(&mut evidence, vec![outside]);
    assert_eq!(told(&judge(&mut evidence)), [""; 0]);
}

#[test]
fn without_a_reason_the_function_tells_on_the_way_in_and_hints_on_the_way_out() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let came = || drop(&plan, "flannel.1", "TC_INGRESS", false, false);
    let diagnosis = without_reason(StagePair::OverlayToPod, None, came());
    assert_eq!(told(&diagnosis), ["bpf-or-tc-drops flannel.1"]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Certain);
    let left = || drop(&plan, "eth0", "TC_EGRESS", true, true);
    let known = Some(HookDirection::Egress);
    let diagnosis = without_reason(StagePair::OverlayToWire, known, left());
    assert_eq!(told(&diagnosis), ["bpf-or-tc-drops eth0"]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    assert!(diagnosis.findings[0].evidence.iter().any(|it| it.contains("TCX program other")));
    // A queue drops by the same function.
    let diagnosis = without_reason(StagePair::OverlayToWire, None, left());
    assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
    // Packets that are missed elsewhere were not dropped there.
    let diagnosis = without_reason(StagePair::WireToOverlay, None, came());
    assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
}

#[test]
fn what_is_for_one_pod_or_is_missed_nowhere_or_does_not_last_is_healthy() {
    let plan = Plan::of(3, Pass::Tables);
    let meant = drop(&plan, "flannel.1", "TC_INGRESS", false, false);
    let at_pod = Drop { interface: Some("veth0".to_owned()), ..meant.clone() };
    let pair = StagePair::OverlayToPod;
    for (drop, lost) in [
        (at_pod, (0, 0)),
        (meant.clone(), (0, 0)),
        (meant.clone(), (2, 1)),
        (Drop { packets: 2, early: 1, ..meant.clone() }, (2, 1)),
        (Drop { early: 0, ..meant.clone() }, (30, 0)),
        (Drop { early: 30, ..meant.clone() }, (30, 30)),
    ] {
        finds_nothing(|evidence| {
            miss(evidence, &plan, pair, lost);
            set_drops(evidence, vec![drop.clone()]);
        });
    }
    for reason in ["QDISC_DROP", "NO_SOCKET"] {
        finds_nothing(|evidence| {
            let drop = Drop { reason: Some(reason.to_owned()), ..meant.clone() };
            set_drops(evidence, vec![drop]);
        });
    }
}

#[test]
fn a_program_may_be_the_arm_of_a_network_policy() {
    for pass in PASSES {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        evidence.intent.policy_elsewhere.push("chain cali-FORWARD".to_owned());
        miss(&mut evidence, &plan, StagePair::OverlayToPod, (30, 15));
        set_drops(&mut evidence, vec![drop(&plan, "cni0", "TC_EGRESS", false, false)]);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0]);
        assert!(diagnosis.unseen.iter().any(|line| line.contains("a program on cni0")));
    }
}
