//! Faults of the node's own settings: forwarding, the bridge's address, MTUs.

mod lookalikes;

use ipnet::IpNet;

use super::{
    super::{
        Confidence, Diagnosis, PeerState, Severity, diagnose, exit_status,
        testing::{
            BRIDGE, OVERLAY, PASSES, Pass, Plan, UPLINK, VETH, address, dual, judge, judge_ipv4,
            link, peer_traffic, tables, told, twin, via,
        },
    },
    injections::{lose_fdb, lose_route},
};
use crate::{
    evidence::{Evidence, Platform, Route, RouteOutcome, Scope, StageCounts},
    topology::{leaves_by, nth_address},
};

/// What is done to a node.
type Change = fn(&mut Evidence, &Plan);
/// What it does, its code, severity, and the device that it is about.
type Fault = (Change, &'static str, Severity, fn(&Plan) -> &str);

const FAULTS: [Fault; 8] = [
    (stop_forwarding, "ip-forward-off", Severity::Critical, |plan| &plan.bridge),
    (close_bridge, "ip-forward-off", Severity::Critical, |plan| &plan.bridge),
    (close_overlay, "ip-forward-off", Severity::Critical, |plan| &plan.overlay),
    (move_bridge, "cni0-wrong-address", Severity::Critical, |plan| &plan.bridge),
    (move_bridge_to_peer, "cni0-wrong-address", Severity::Critical, |plan| &plan.bridge),
    (strip_bridge, "cni0-wrong-address", Severity::Critical, |plan| &plan.bridge),
    (narrow_uplink, "tunnel-fragments-outer", Severity::Warning, |plan| &plan.overlay),
    (enlarge_pods, "pod-mtu-larger-than-tunnel", Severity::Info, |plan| &plan.bridge),
];

fn plans() -> impl Iterator<Item = Plan> {
    PASSES.into_iter().flat_map(|pass| {
        [(2, 0.0), (2, 5.0), (3, 5.0), (5, 0.0)]
            .map(|(nodes, seconds)| Plan { seconds, ..Plan::of(nodes, pass) })
    })
}

fn set_forwarding(evidence: &mut Evidence, scopes: &[Scope], enabled: bool) {
    for setting in &mut tables(evidence).forwarding {
        if scopes.contains(&setting.scope) {
            setting.enabled = enabled;
        }
    }
}

/// Pods still send, and the kernel refuses what they send.
fn close_bridge(evidence: &mut Evidence, _: &Plan) {
    set_forwarding(evidence, &[Scope::Device(BRIDGE)], false);
    for peer in evidence.traffic.iter_mut().flat_map(|traffic| &mut traffic.peers) {
        peer.packets = StageCounts { overlay_out: 20, wire_out: 20, ..peer.packets };
        (peer.lost.pod_to_overlay, peer.lost_early.pod_to_overlay) = (20, 10);
    }
}

/// Packets for pods come out of the tunnel and go no further.
fn close_overlay(evidence: &mut Evidence, _: &Plan) {
    set_forwarding(evidence, &[Scope::Device(OVERLAY)], false);
    for peer in evidence.traffic.iter_mut().flat_map(|traffic| &mut traffic.peers) {
        peer.packets.pod_in = 0;
        (peer.lost.overlay_to_pod, peer.lost_early.overlay_to_pod) = (40, 20);
    }
}

/// What `net.ipv4.ip_forward=0` does.
fn stop_forwarding(evidence: &mut Evidence, plan: &Plan) {
    close_bridge(evidence, plan);
    close_overlay(evidence, plan);
    let scopes: Vec<Scope> = tables(evidence).forwarding.iter().map(|it| it.scope).collect();
    set_forwarding(evidence, &scopes, false);
}

/// The kernel takes the connected route with the address; packets for pods leave the uplink again.
fn give_bridge(evidence: &mut Evidence, plan: &Plan, other: Option<IpNet>) {
    let tables = tables(evidence);
    tables.addresses.retain(|it| it.ifindex != BRIDGE);
    tables.routes.retain(|route| route.destination != plan.own_cidr());
    if let Some(other) = other {
        let gateway = nth_address(other, 1).to_string();
        tables.addresses.push(address(BRIDGE, &gateway, other.prefix_len()));
        tables.routes.push(via(other, None, BRIDGE));
    }
    let Some(traffic) = &mut evidence.traffic else { return };
    traffic.stages.leak.packets = 40;
    for peer in &mut traffic.peers {
        peer.packets = StageCounts { pod_out: 0, pod_in: 0, ..peer.packets };
        (peer.lost.overlay_to_pod, peer.lost_early.overlay_to_pod) = (40, 20);
    }
}

fn move_bridge(evidence: &mut Evidence, plan: &Plan) {
    give_bridge(evidence, plan, "10.22.0.0/16".parse().ok());
}

fn move_bridge_to_peer(evidence: &mut Evidence, plan: &Plan) {
    give_bridge(evidence, plan, Some(plan.hit_cidr()));
}

fn strip_bridge(evidence: &mut Evidence, plan: &Plan) {
    give_bridge(evidence, plan, None);
}

fn set_mtu(evidence: &mut Evidence, index: u32, mtu: u32) {
    tables(evidence).links.iter_mut().filter(|it| it.index == index).for_each(|it| it.mtu = mtu);
}

fn narrow_uplink(evidence: &mut Evidence, _: &Plan) {
    set_mtu(evidence, UPLINK, 1400);
}

fn enlarge_pods(evidence: &mut Evidence, _: &Plan) {
    for index in [BRIDGE, VETH, VETH + 1] {
        set_mtu(evidence, index, 1500);
    }
}

/// Leads all peers' routes by their node addresses.
fn route_directly(evidence: &mut Evidence, plan: &Plan) {
    for node in plan.peers() {
        let tables = tables(evidence);
        tables.routes.retain(|route| route.destination != plan.cidr(node));
        tables.routes.push(via(plan.cidr(node), Some(plan.node_ip(node)), UPLINK));
        if let Some(traffic) = peer_traffic(evidence, plan.cidr(node)) {
            traffic.packets = StageCounts { pod_out: 40, pod_in: 40, ..StageCounts::default() };
            traffic.asking_out = 0;
        }
    }
}

fn judged(plan: &Plan, change: Change) -> (Diagnosis, Evidence) {
    let mut evidence = plan.evidence();
    change(&mut evidence, plan);
    (judge_ipv4(&mut evidence), evidence)
}

/// The devices of IPv6 have no say in forwarding.
#[test]
fn of_ipv6_the_node_forwards_or_does_not() {
    for plan in plans() {
        let of_twin = |change: Change| told(&diagnose(&twin(&judged(&plan, change).1).unwrap()));
        assert_eq!(of_twin(stop_forwarding), ["ip-forward-off cni0"], "{plan:?}");
        if plan.seconds == 0.0 {
            assert_eq!(of_twin(close_bridge), [""; 0], "{plan:?}");
        }
    }
}

#[test]
fn what_ipv4_and_ipv6_share_breaks_both_and_the_rest_one() {
    for (change, code, _, device) in FAULTS {
        let plan = Plan::of(3, Pass::SubnetEnv);
        let (healthy, faulty) = (plan.evidence(), judged(&plan, change).1);
        let [healthy6, faulty6] = [&healthy, &faulty].map(|it| twin(it).unwrap());
        let of_ipv4 = told(&diagnose(&dual(&faulty, &healthy6, &faulty)));
        let expected = format!("{code} {}", device(&plan));
        assert!(of_ipv4.contains(&expected), "IPv4 is broken: {of_ipv4:?}");
        // A small uplink is one for both tunnels.
        assert!(of_ipv4.iter().all(|it| it.starts_with(code)), "IPv4 is broken: {of_ipv4:?}");
        let of_both = told(&diagnose(&dual(&faulty, &faulty6, &faulty)));
        assert_eq!(of_both[0], of_ipv4[0], "both are broken: {of_both:?}");
    }
}

#[test]
fn each_fault_gives_its_finding_and_no_other() {
    for (change, code, severity, device) in FAULTS {
        for plan in plans() {
            let (diagnosis, evidence) = judged(&plan, change);
            let by_tables_alone = plan.pass == Pass::Tables && plan.seconds == 0.0;
            if code == "cni0-wrong-address" && by_tables_alone {
                assert_eq!(told(&diagnosis), [""; 0], "{plan:?}");
                let line = "which of two devices is right: flannel.1 begins the subnet";
                assert!(diagnosis.unseen.iter().any(|it| it.starts_with(line)), "{diagnosis:?}");
                continue;
            }
            assert_eq!(told(&diagnosis), [format!("{code} {}", device(&plan))], "{plan:?}");
            let finding = &diagnosis.findings[0];
            assert_eq!((finding.severity, finding.confidence), (severity, Confidence::Certain));
            assert_eq!(finding.subject.interface.as_deref(), Some(device(&plan)));
            assert!(!finding.evidence.is_empty() && !finding.remedy.is_empty(), "{code}");
            let state = match (severity, plan.seconds > 0.0) {
                (Severity::Critical, _) => PeerState::Broken,
                (_, true) => PeerState::Ok,
                (_, false) => PeerState::Unverified,
            };
            assert!(diagnosis.peers.iter().all(|peer| peer.state == state), "{code}: {plan:?}");
            let status = exit_status(&diagnosis, &evidence, Severity::Info);
            assert_eq!(status, u8::from(severity != Severity::Info), "{code}");
        }
    }
}

#[test]
fn losses_are_told_with_their_cause() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for (change, after) in [
        (close_bridge as Change, &["pod_out"][..]),
        (close_overlay, &["overlay_in"]),
        (stop_forwarding, &["overlay_in", "pod_out"]),
    ] {
        let finding = judged(&plan, change).0.findings.remove(0);
        let mut expected: Vec<String> = plan
            .peers()
            .flat_map(|node| {
                let cidr = plan.cidr(node);
                after.iter().map(move |stage| format!("packets of {cidr} after {stage}"))
            })
            .collect();
        expected.sort();
        let mut breaks = finding.breaks;
        breaks.sort();
        assert_eq!(breaks, expected);
        assert!(finding.impact.packets > 0);
    }
}

#[test]
fn another_fault_beside_is_another_finding() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let hit = plan.hit_cidr();
    let others: [(Change, &str); 2] =
        [(lose_fdb, "fdb-entry-missing"), (lose_route, "pod-route-missing")];
    for (change, code, _, device) in FAULTS {
        for (other, other_code) in others {
            let mut evidence = plan.evidence();
            change(&mut evidence, &plan);
            let mut addresses = tables(&mut evidence).addresses.iter();
            // Such a bridge is why the peer has no other route.
            if addresses.any(|it| it.ifindex == BRIDGE && hit.contains(&it.address)) {
                continue;
            }
            other(&mut evidence, &plan);
            let mut found = told(&judge_ipv4(&mut evidence));
            found.sort();
            let mut expected = [format!("{code} {}", device(&plan)), format!("{other_code} {hit}")];
            expected.sort();
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_bridge_that_claims_a_peers_subnet_is_why_its_route_is_wrong() {
    for pass in [Pass::SubnetEnv, Pass::PeersFile] {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        move_bridge_to_peer(&mut evidence, &plan);
        let of_peer = |it: &Route| it.destination == plan.hit_cidr() && leaves_by(it, OVERLAY);
        tables(&mut evidence).routes.retain(|route| !of_peer(route));
        assert_eq!(told(&judge(&mut evidence)), ["cni0-wrong-address cni0"]);
    }
}

#[test]
fn a_refused_question_of_a_pod_is_no_route_that_refuses() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    stop_forwarding(&mut evidence, &plan);
    judge(&mut evidence);
    for answer in &mut tables(&mut evidence).answers {
        if answer.origin == crate::evidence::Origin::Pods {
            answer.outcome = RouteOutcome::Refused(113);
        }
    }
    assert_eq!(told(&diagnose(&evidence)), ["ip-forward-off cni0"]);
}

#[test]
fn forwarding_is_switched_on_where_it_is_off() {
    let plan = Plan::of(2, Pass::SubnetEnv);
    let first = |change, platform| {
        let mut evidence = plan.evidence();
        evidence.node.platform = platform;
        let change: Change = change;
        change(&mut evidence, &plan);
        judge_ipv4(&mut evidence).findings.remove(0).remedy.remove(0)
    };
    let unknown = Platform::Unknown;
    assert_eq!(first(stop_forwarding, unknown), "sysctl -w net.ipv4.ip_forward=1");
    let of_device = "sysctl -w net/ipv4/conf/flannel.1/forwarding=1";
    assert_eq!(first(close_overlay, unknown), of_device);
    let patch = r#"{"machine":{"sysctls":{"net.ipv4.ip_forward":"1"}}}"#;
    let command = format!("talosctl patch machineconfig --nodes n1 --patch '{patch}'");
    assert_eq!(first(stop_forwarding, Platform::Talos), command);
}

#[test]
fn peers_that_are_routed_directly_are_cut_off_by_the_bridge() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    route_directly(&mut evidence, &plan);
    set_forwarding(&mut evidence, &[Scope::Device(BRIDGE), Scope::Device(OVERLAY)], false);
    let diagnosis = judge_ipv4(&mut evidence);
    assert_eq!(told(&diagnosis), ["ip-forward-off cni0"]);
    assert_eq!(diagnosis.findings[0].title, "Forwarding is off on cni0 of n1");
    assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
}

#[test]
fn a_small_uplink_of_one_peer_is_told_by_its_name() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let mut vpn = link(32, "tailscale0", Some("tun"));
    vpn.mtu = 1280;
    tables(&mut evidence).links.push(vpn);
    tables(&mut evidence).routes.push(via(plan.node_ip(plan.hit()).into(), None, 32));
    let finding = judge(&mut evidence).findings.remove(0);
    assert_eq!(finding.code, "tunnel-fragments-outer");
    assert_eq!(
        finding.title,
        "flannel.1 MTU 1450 + 50 > tailscale0 MTU 1280: full packets leave in fragments"
    );
    let line = "tailscale0, the kernel's way to 1 of 2 peers, has MTU 1280: encapsulated, a packet of \
                at most 1230 fits; flannel.1 has MTU 1450";
    assert_eq!(finding.evidence, [line]);
    assert_eq!(finding.remedy[0], "ip link set flannel.1 mtu 1230");
}
