//! Faults of what waits to leave this node: a queue that is full, a daemon that reads nothing, packets
//! that are too big for the tunnel.

use std::net::IpAddr;

use super::super::{
    Confidence, Diagnosis, PeerState, Severity,
    testing::{
        BRIDGE, PASSES, Pass, Plan, UPLINK, VETH, assert_healthy, dropped, judge, peer_traffic,
        tables, told,
    },
};
use crate::{
    evidence::{
        DeviceCounters, Drop, DropFlow, DropOuter, DropPlace, Drops, Evidence, PeerTraffic,
        QueueCounters, SnmpCounters, Statistics,
    },
    topology::nth_address,
};

const DROPPED: u64 = 20;

fn read(entries: Vec<Drop>) -> Option<Drops> {
    Some(Drops { entries, headers_read: true, has_reasons: true, ..Drops::default() })
}

fn statistics(evidence: &mut Evidence) -> &mut Statistics {
    evidence.statistics.get_or_insert_default()
}

/// A pod of this node, and one of the hit peer.
fn pods(plan: &Plan) -> (IpAddr, IpAddr) {
    (nth_address(plan.own_cidr(), 9), nth_address(plan.hit_cidr(), 5))
}

fn flow((source, destination): (IpAddr, IpAddr)) -> Option<DropFlow> {
    dropped().flow.map(|flow| DropFlow { source, destination, ..flow })
}

/// A pod's packets to the hit peer, dropped at the uplink.
fn at_uplink(plan: &Plan, reason: Option<&str>, symbol: &str) -> Drop {
    let (source, destination) = (plan.node_ip(plan.own), plan.node_ip(plan.hit()));
    Drop {
        reason: reason.map(str::to_owned),
        symbol: Some(symbol.to_owned()),
        interface: Some("eth0".to_owned()),
        packets: DROPPED,
        early: DROPPED / 2,
        flow: flow(pods(plan)),
        outer: Some(DropOuter { source, destination }),
        ..dropped()
    }
}

/// Nothing comes from a peer.
fn silence_peer(peer: &mut PeerTraffic) {
    (peer.packets.wire_in, peer.packets.overlay_in, peer.packets.pod_in) = (0, 0, 0);
    (peer.early.wire_in, peer.early.overlay_in, peer.early.pod_in) = (0, 0, 0);
    (peer.outer_source, peer.inner_source_mac) = (None, None);
}

fn silence(evidence: &mut Evidence) {
    evidence.traffic.iter_mut().flat_map(|it| &mut it.peers).for_each(silence_peer);
}

// === uplink-queue-overlimit ===

const QUEUE: &str = "uplink-queue-overlimit eth0";

fn by_queue(plan: &Plan) -> Drop {
    at_uplink(plan, Some("QDISC_DROP"), "__dev_queue_xmit")
}

fn count_queue(evidence: &mut Evidence, dropped: u64) {
    let (interface, kind) = ("eth0".to_owned(), "tbf".to_owned());
    statistics(evidence).queues =
        vec![QueueCounters { interface, ifindex: UPLINK, kind, dropped, overlimits: 2 * dropped }];
}

/// The uplink's queue dropped this, its counter says how much.
fn with_queue(pass: Pass, counted: u64, change: impl FnOnce(&mut Drop, &Plan)) -> Evidence {
    let plan = Plan::of(3, pass);
    let mut evidence = plan.evidence();
    let mut drop = by_queue(&plan);
    change(&mut drop, &plan);
    evidence.drops = read(vec![drop]);
    count_queue(&mut evidence, counted);
    evidence
}

#[test]
fn a_queue_that_drops_the_tunnels_packets_is_told() {
    for pass in PASSES {
        let diagnosis = judge(&mut with_queue(pass, DROPPED, |_, _| ()));
        assert_eq!(told(&diagnosis), [QUEUE]);
        let finding = &diagnosis.findings[0];
        assert_eq!(
            (finding.severity, finding.confidence),
            (Severity::Warning, Confidence::Certain)
        );
        assert!(finding.evidence[0].starts_with("20 of 40 encapsulated packets"), "{finding:?}");
        assert!(finding.evidence[0].contains("QDISC_DROP in __dev_queue_xmit"), "{finding:?}");
        assert!(finding.evidence[1].contains("(tbf) dropped 20 packets"), "{finding:?}");
        assert!(finding.remedy[0].starts_with("tc -s qdisc show dev eth0"), "{finding:?}");
        assert_eq!((finding.impact.packets, finding.impact.flows), (DROPPED, 1));
        assert_eq!(diagnosis.drop_causes, ["uplink-queue-overlimit"]);
        assert!(diagnosis.peers.iter().all(|it| it.state == PeerState::Ok));
    }
}

#[test]
fn without_reasons_the_queues_counter_is_the_proof() {
    let by_function = |drop: &mut Drop, _: &Plan| drop.reason = None;
    assert_eq!(told(&judge(&mut with_queue(Pass::Tables, DROPPED, by_function))), [QUEUE]);
    assert_healthy(&mut with_queue(Pass::Tables, 0, by_function));
    let mut evidence = with_queue(Pass::Tables, DROPPED, by_function);
    statistics(&mut evidence).queues.clear();
    assert_healthy(&mut evidence);
}

#[test]
fn a_device_below_the_uplink_has_no_counter_and_needs_none() {
    let mut evidence = with_queue(Pass::Tables, 0, |drop, _| {
        drop.reason = Some("QDISC_OVERLIMIT".to_owned());
    });
    statistics(&mut evidence).queues.clear();
    assert_eq!(told(&judge(&mut evidence)), [QUEUE]);
}

#[test]
fn what_a_queue_drops_of_a_healthy_node_is_no_finding() {
    for change in [
        |drop: &mut Drop, _: &Plan| drop.packets = 2,
        // In one half of the window only.
        |drop, _| drop.early = 0,
        |drop, _| drop.early = drop.packets,
        // Not the tunnel's packets.
        |drop, plan| {
            (drop.outer, drop.flow) = (None, flow((plan.node_ip(plan.own), plan.gateway())))
        },
        |drop, _| drop.place = DropPlace::Pod,
        |drop, _| drop.flow = None,
        // Something else.
        |drop, _| drop.reason = Some("TC_EGRESS".to_owned()),
        |drop, _| drop.interface = Some("eth7".to_owned()),
    ] as [fn(&mut Drop, &Plan); 8]
    {
        assert_healthy(&mut with_queue(Pass::SubnetEnv, DROPPED, change));
    }
    // Its own counter says otherwise.
    assert_healthy(&mut with_queue(Pass::SubnetEnv, 0, |_, _| ()));
}

#[test]
fn a_busy_connection_loses_a_few_of_very_many() {
    let mut evidence = with_queue(Pass::SubnetEnv, DROPPED, |_, _| ());
    let hit = Plan::of(3, Pass::SubnetEnv).hit_cidr();
    peer_traffic(&mut evidence, hit).unwrap().packets.wire_out = DROPPED * 100 + 1;
    assert_healthy(&mut evidence);
    peer_traffic(&mut evidence, hit).unwrap().packets.wire_out = DROPPED * 100;
    assert_eq!(told(&judge(&mut evidence)), [QUEUE]);
}

#[test]
fn what_went_unanswered_is_the_queues_as_far_as_it_dropped_so_much() {
    let hit = Plan::of(3, Pass::SubnetEnv).hit_cidr();
    for (lost, expected) in [
        (20, vec![QUEUE.to_owned()]),
        (39, vec![QUEUE.to_owned(), format!("unexplained-loss {hit}")]),
    ] {
        let mut evidence = with_queue(Pass::SubnetEnv, DROPPED, |_, _| ());
        let traffic = peer_traffic(&mut evidence, hit).unwrap();
        (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (lost, lost / 2);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), expected, "{lost}");
        assert_eq!(diagnosis.findings[0].impact.packets, DROPPED, "none is counted twice");
    }
}

#[test]
fn what_goes_unanswered_beyond_the_uplink_may_be_large_and_can_be_tried() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.lost.wire_to_peer, traffic.lost_early.wire_to_peer) = (20, 10);
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [format!("unexplained-loss {}", plan.hit_cidr())]);
    let expected = format!("ping -M do -c 3 -s 1472 {} ", plan.node_ip(plan.hit()));
    assert!(diagnosis.findings[0].remedy[1].starts_with(&expected), "{diagnosis:#?}");
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    (traffic.lost.wire_to_peer, traffic.lost.overlay_to_wire) = (0, 20);
    traffic.lost_early.overlay_to_wire = 10;
    assert_eq!(judge(&mut evidence).findings[0].remedy.len(), 1, "not before the uplink");
}

#[test]
fn a_queue_that_drops_nearly_everything_is_why_nothing_comes_back() {
    let hit = Plan::of(3, Pass::SubnetEnv).hit_cidr();
    for (packets, is_alone) in [(36, true), (8, false)] {
        let mut evidence = with_queue(Pass::SubnetEnv, DROPPED, |drop, _| {
            (drop.packets, drop.early) = (packets, packets / 2);
        });
        peer_traffic(&mut evidence, hit).into_iter().for_each(silence_peer);
        let found = told(&judge(&mut evidence));
        assert!(found.contains(&QUEUE.to_owned()), "{found:?}");
        assert_eq!(found.len() == 1, is_alone, "{found:?}");
    }
}

#[test]
fn without_the_packets_headers_it_is_told_that_nothing_tells() {
    let says = |evidence: &mut Evidence| {
        assert_healthy(evidence).iter().any(|it| it.contains("that the queue of eth0 dropped"))
    };
    let mut evidence = with_queue(Pass::Tables, DROPPED, |drop, _| {
        (drop.flow, drop.outer) = (None, None);
    });
    assert!(!says(&mut evidence), "headers were read, and none was the tunnel's");
    evidence.drops.as_mut().unwrap().headers_read = false;
    assert!(says(&mut evidence));
    evidence.drops = None;
    assert!(says(&mut evidence));
    let interface = "eth0".to_owned();
    let busy = DeviceCounters { interface, tx_packets: 2001, ..DeviceCounters::default() };
    statistics(&mut evidence).devices = vec![busy];
    assert!(!says(&mut evidence), "a few of very many");
}

#[test]
fn a_queue_without_carrier_is_the_uplinks() {
    let mut evidence = with_queue(Pass::SubnetEnv, DROPPED, |_, _| ());
    let uplink = tables(&mut evidence).links.iter_mut().find(|it| it.index == UPLINK);
    uplink.unwrap().lower_up = false;
    assert_eq!(told(&judge(&mut evidence)), ["uplink-down eth0"]);
}

// === l3-uplink-daemon-stuck ===

const STUCK: &str = "l3-uplink-daemon-stuck eth0";

fn by_ring(plan: &Plan) -> Drop {
    at_uplink(plan, Some("FULL_RING"), "tun_net_xmit")
}

/// The uplink is a TUN device that sent and dropped so many packets, and nothing comes back.
fn with_tun(pass: Pass, sent: u64, dropped: u64) -> Evidence {
    let plan = Plan::of(3, pass);
    let mut evidence = plan.evidence();
    let uplink = tables(&mut evidence).links.iter_mut().find(|it| it.index == UPLINK).unwrap();
    (uplink.kind, uplink.mac, uplink.layer3) = (Some("tun".to_owned()), None, true);
    tables(&mut evidence).neighbours.retain(|it| it.ifindex != UPLINK);
    statistics(&mut evidence).devices = vec![DeviceCounters {
        interface: "eth0".to_owned(),
        ifindex: UPLINK,
        tx_packets: sent,
        tx_dropped: dropped,
        ..DeviceCounters::default()
    }];
    evidence.drops = read(vec![by_ring(&plan)]);
    silence(&mut evidence);
    evidence
}

#[test]
fn a_daemon_that_reads_nothing_is_told() {
    for pass in PASSES {
        let diagnosis = judge(&mut with_tun(pass, 0, 60));
        assert_eq!(told(&diagnosis), [STUCK]);
        let finding = &diagnosis.findings[0];
        assert_eq!(
            (finding.severity, finding.confidence),
            (Severity::Critical, Confidence::Certain)
        );
        assert!(finding.evidence[0].contains("60 were dropped"), "{finding:?}");
        assert!(finding.evidence[1].contains("FULL_RING in tun_net_xmit"), "{finding:?}");
        assert!(!finding.breaks.is_empty(), "that nothing comes back: {finding:?}");
        assert_eq!(diagnosis.drop_causes, ["l3-uplink-daemon-stuck"]);
        assert!(diagnosis.peers.iter().all(|it| it.state == PeerState::Broken));
    }
}

#[test]
fn the_function_says_as_much_as_the_reason() {
    let mut evidence = with_tun(Pass::Tables, 0, 60);
    evidence.drops.as_mut().unwrap().entries[0].reason = None;
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [STUCK]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Certain);
}

#[test]
fn where_drops_are_not_read_the_counters_make_it_likely() {
    let mut evidence = with_tun(Pass::Tables, 0, 60);
    evidence.drops = None;
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), [STUCK]);
    assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    for peer in evidence.traffic.iter_mut().flat_map(|it| &mut it.peers) {
        peer.early.wire_out = 0;
    }
    assert_eq!(told(&judge(&mut evidence)), [""; 0], "nothing was sent in the first half");
}

#[test]
fn a_daemon_that_reads_is_not_stuck() {
    let is_stuck = |evidence: &mut Evidence| told(&judge(evidence)).contains(&STUCK.to_owned());
    // A burst that was too much for it, and a queue that has room.
    assert!(!is_stuck(&mut with_tun(Pass::Tables, 1, 60)));
    assert!(!is_stuck(&mut with_tun(Pass::Tables, 0, 2)));
    let mut evidence = with_tun(Pass::Tables, 0, 60);
    evidence.drops =
        read(vec![at_uplink(&Plan::of(3, Pass::Tables), Some("NETFILTER_DROP"), "nft_do_chain")]);
    assert!(!is_stuck(&mut evidence), "other packets were dropped there");
    let mut evidence = with_tun(Pass::Tables, 0, 60);
    let uplink = tables(&mut evidence).links.iter_mut().find(|it| it.index == UPLINK).unwrap();
    uplink.kind = Some("veth".to_owned());
    assert!(!is_stuck(&mut evidence));
    let mut evidence = with_tun(Pass::Tables, 0, 60);
    let uplink = tables(&mut evidence).links.iter_mut().find(|it| it.index == UPLINK).unwrap();
    uplink.lower_up = false;
    assert_eq!(told(&judge(&mut evidence)), ["uplink-down eth0"], "nobody holds it");
}

// === pmtud-icmp-blocked ===

const BLOCKED: &str = "pmtud-icmp-blocked n1";
const LARGE: &str = "pod-mtu-larger-than-tunnel cni0";

fn too_big(plan: &Plan) -> Drop {
    Drop {
        reason: Some("PKT_TOO_BIG".to_owned()),
        symbol: Some("ip_forward".to_owned()),
        packets: DROPPED,
        early: DROPPED / 2,
        flow: flow(pods(plan)),
        ..dropped()
    }
}

/// "Fragmentation needed" of the node to its pod, dropped as it is sent.
fn lost_error(plan: &Plan) -> Drop {
    let ends = (nth_address(plan.own_cidr(), 1), pods(plan).0);
    let error = |it| DropFlow { protocol: 1, source_port: 3, destination_port: 4, ..it };
    Drop { interface: None, flow: flow(ends).map(error), ..dropped() }
}

/// Pods with a larger MTU than the tunnel, and these drops.
fn with_large_pods(pass: Pass, entries: impl Fn(&Plan) -> Vec<Drop>) -> Evidence {
    let plan = Plan::of(3, pass);
    let mut evidence = plan.evidence();
    for link in &mut tables(&mut evidence).links {
        link.mtu = if [BRIDGE, VETH, VETH + 1].contains(&link.index) { 1500 } else { link.mtu };
    }
    evidence.drops = read(entries(&plan));
    evidence
}

fn lose(evidence: &mut Evidence, packets: u64) {
    let hit = Plan::of(3, Pass::Tables).hit_cidr();
    let traffic = peer_traffic(evidence, hit).unwrap();
    (traffic.lost.pod_to_overlay, traffic.lost_early.pod_to_overlay) = (packets, packets / 2);
}

fn blocked(pass: Pass, change: impl Fn(&mut [Drop; 2])) -> Evidence {
    with_large_pods(pass, |plan| {
        let mut drops = [too_big(plan), lost_error(plan)];
        change(&mut drops);
        drops.to_vec()
    })
}

#[test]
fn large_packets_whose_errors_are_dropped_are_told() {
    for pass in PASSES {
        let diagnosis = judge(&mut blocked(pass, |_| ()));
        assert_eq!(told(&diagnosis), [BLOCKED]);
        let finding = &diagnosis.findings[0];
        assert_eq!(
            (finding.severity, finding.confidence),
            (Severity::Critical, Confidence::Certain)
        );
        assert!(
            finding.evidence[0].contains("has MTU 1500, flannel.1 has MTU 1450"),
            "{finding:?}"
        );
        assert!(finding.evidence[1].contains("PKT_TOO_BIG in ip_forward"), "{finding:?}");
        assert!(finding.evidence[2].starts_with("10 errors"), "{finding:?}");
        assert!(finding.breaks.contains(&"MTU of cni0".to_owned()), "{finding:?}");
        assert_eq!(finding.impact.packets, DROPPED);
        assert_eq!(diagnosis.drop_causes[0], "pmtud-icmp-blocked");
    }
}

#[test]
fn a_pods_own_firewall_may_drop_them_too() {
    let evidence = &mut blocked(Pass::Tables, |[_, error]| {
        (error.place, error.interface) = (DropPlace::Pod, Some("eth0".to_owned()));
    });
    let diagnosis = judge(evidence);
    assert_eq!(told(&diagnosis), [BLOCKED]);
    assert!(diagnosis.findings[0].remedy[1].starts_with("iptables -I INPUT"));
}

#[test]
fn without_reasons_the_kernels_counter_has_to_say_that_packets_were_too_big() {
    for (refused, expected) in [(DROPPED, true), (0, false)] {
        let mut evidence = blocked(Pass::Tables, |drops| {
            drops.iter_mut().for_each(|it| it.reason = None);
        });
        let snmp = SnmpCounters { ip_fragment_fails: refused, ..SnmpCounters::default() };
        statistics(&mut evidence).snmp = Some(snmp);
        let found: Diagnosis = judge(&mut evidence);
        assert_eq!(told(&found), [if expected { BLOCKED } else { LARGE }]);
    }
}

#[test]
fn where_the_error_arrives_one_large_packet_is_no_loss() {
    let plan = Plan::of(3, Pass::Tables);
    for (packets, early) in [(1, 1), (2, 1), (9, 9), (9, 0)] {
        let mut evidence = with_large_pods(Pass::Tables, |plan| {
            vec![Drop { packets, early, ..too_big(plan) }, lost_error(plan)]
        });
        assert_eq!(told(&judge(&mut evidence)), [LARGE], "{packets} {early}");
    }
    // Errors that are dropped mean nothing by themselves.
    let mut evidence = plan.evidence();
    evidence.drops = read(vec![lost_error(&plan)]);
    assert_healthy(&mut evidence);
}

#[test]
fn without_both_halves_of_the_proof_it_is_not_named() {
    let other_pod = |drops: &mut [Drop; 2]| {
        let pod = nth_address(Plan::of(3, Pass::Tables).own_cidr(), 17);
        drops[1].flow.as_mut().unwrap().destination = pod;
    };
    let other_error = |drops: &mut [Drop; 2]| drops[1].flow.as_mut().unwrap().destination_port = 1;
    let other_reason = |drops: &mut [Drop; 2]| drops[1].reason = Some("SOCKET_FILTER".to_owned());
    let fragment = |drops: &mut [Drop; 2]| drops[0].reason = Some("IP_INHDR".to_owned());
    for change in [other_pod, other_error, other_reason, fragment] as [fn(&mut [Drop; 2]); 4] {
        assert_eq!(told(&judge(&mut blocked(Pass::Tables, change))), [LARGE]);
    }
}

#[test]
fn what_the_stages_miss_is_explained_as_far_as_so_much_was_too_big() {
    let hit = Plan::of(3, Pass::Tables).hit_cidr();
    for (lost, expected) in [
        (20, vec![BLOCKED.to_owned()]),
        (39, vec![BLOCKED.to_owned(), format!("unexplained-loss {hit}")]),
    ] {
        let mut evidence = blocked(Pass::Tables, |_| ());
        lose(&mut evidence, lost);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), expected, "{lost}");
        assert_eq!(diagnosis.findings[0].impact.packets, DROPPED, "none is counted twice");
    }
}
