//! What the kernel drops of a peer's packets for a reason that it also counts: `rp-filter-drops-inner`,
//! `vxlan-udp-checksum-bad` and `inner-ip-damaged`, and what resembles them.

use super::super::{
    Confidence, Diagnosis, PeerState, Severity, diagnose,
    testing::{
        PASSES, Pass, Plan, dropped, finds_nothing, judge_ipv4, peer_traffic, tables, told, twin,
        twin_words,
    },
};
use crate::{
    evidence::{
        Drop, DropFlow, DropOuter, Drops, Evidence, RpFilter, SnmpCounters, StagePair, Statistics,
    },
    topology::nth_address,
};

/// One of these faults, as the evidence has it.
struct Scene {
    code: &'static str,
    severity: Severity,
    pair: StagePair,
    reason: &'static str,
    function: &'static str,
    interface: &'static str,
    is_outer: bool,
    count: fn(u64) -> SnmpCounters,
    has_twin: bool,
}

/// How much of it there is.
#[derive(Clone, Copy)]
struct Much {
    dropped: (u64, u64),
    lost: (u64, u64),
    counted: u64,
}

const MUCH: Much = Much { dropped: (30, 15), lost: (30, 15), counted: 30 };

const REVERSE_PATH: Scene = Scene {
    code: "rp-filter-drops-inner",
    severity: Severity::Critical,
    pair: StagePair::OverlayToPod,
    reason: "IP_RPFILTER",
    function: "ip_rcv_finish_core",
    interface: "flannel.1",
    is_outer: false,
    count: |risen| SnmpCounters { tcp_ext_reverse_path_filter: risen, ..SnmpCounters::default() },
    has_twin: false,
};

const UDP_CHECKSUM: Scene = Scene {
    code: "vxlan-udp-checksum-bad",
    severity: Severity::Critical,
    pair: StagePair::WireToOverlay,
    reason: "UDP_CSUM",
    function: "udp_queue_rcv_one_skb",
    interface: "eth0",
    is_outer: true,
    count: |risen| SnmpCounters { udp_in_checksum_errors: risen, ..SnmpCounters::default() },
    has_twin: true,
};

const DAMAGED: Scene = Scene {
    code: "inner-ip-damaged",
    severity: Severity::Warning,
    pair: StagePair::OverlayToPod,
    reason: "IP_CSUM",
    function: "ip_rcv_core",
    interface: "flannel.1",
    is_outer: false,
    count: |risen| SnmpCounters { ip_in_checksum_errors: risen, ..SnmpCounters::default() },
    has_twin: false,
};

const SCENES: [Scene; 3] = [REVERSE_PATH, UDP_CHECKSUM, DAMAGED];

// === impl Scene ===

impl Scene {
    /// What the kernel dropped of the hit peer's packets.
    fn drop(&self, plan: &Plan, much: Much) -> Drop {
        let flow = DropFlow {
            source: nth_address(plan.hit_cidr(), 5),
            destination: nth_address(plan.own_cidr(), 9),
            protocol: 17,
            source_port: 53,
            destination_port: 40_000,
        };
        let ends = [plan.hit(), plan.own].map(|node| plan.node_ip(node));
        let outer = DropOuter { source: ends[0], destination: ends[1] };
        Drop {
            reason: Some(self.reason.to_owned()),
            symbol: Some(self.function.to_owned()),
            interface: Some(self.interface.to_owned()),
            packets: much.dropped.0,
            early: much.dropped.1,
            flow: Some(flow),
            outer: self.is_outer.then_some(outer),
            ..dropped()
        }
    }

    /// Evidence of a node that has it.
    fn evidence(&self, plan: &Plan, much: Much) -> Evidence {
        let mut evidence = plan.evidence();
        let statistics = evidence.statistics.get_or_insert_default();
        statistics.snmp = Some((self.count)(much.counted));
        set_filter(statistics, 0, 1);
        let entries = vec![self.drop(plan, much)];
        evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
        let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
        let (lost, early) = (&mut traffic.lost, &mut traffic.lost_early);
        match self.pair {
            StagePair::WireToOverlay => {
                (lost.wire_to_overlay, early.wire_to_overlay) = much.lost;
            }
            _ => (lost.overlay_to_pod, early.overlay_to_pod) = much.lost,
        }
        evidence
    }

    fn of_hit(&self, plan: &Plan) -> String {
        format!("{} {}", self.code, plan.hit_cidr())
    }

    fn judged(&self, evidence: &mut Evidence) -> Diagnosis {
        let diagnosis = judge_ipv4(evidence);
        let of_twin = told(&diagnose(&twin(evidence).unwrap()));
        if self.has_twin {
            let words: Vec<String> = told(&diagnosis).iter().map(|it| twin_words(it)).collect();
            assert_eq!(of_twin, words);
        } else {
            assert!(of_twin.iter().all(|it| !it.starts_with(self.code)), "{of_twin:?}");
        }
        diagnosis
    }
}

fn set_filter(statistics: &mut Statistics, all: u8, overlay: u8) {
    let setting =
        |interface: Option<&str>, mode| RpFilter { interface: interface.map(str::to_owned), mode };
    statistics.rp_filter = vec![setting(None, all), setting(Some("flannel.1"), overlay)];
}

fn without_reason(evidence: &mut Evidence) {
    let drops = evidence.drops.as_mut().unwrap();
    drops.entries.iter_mut().for_each(|drop| drop.reason = None);
}

#[test]
fn what_the_kernel_names_is_told_of_the_peer_alone() {
    for scene in &SCENES {
        for pass in PASSES {
            let plan = Plan::of(3, pass);
            let diagnosis = scene.judged(&mut scene.evidence(&plan, MUCH));
            assert_eq!(told(&diagnosis), [scene.of_hit(&plan)]);
            let finding = &diagnosis.findings[0];
            assert_eq!((finding.severity, finding.impact.packets), (scene.severity, 30));
            assert!(finding.evidence.iter().any(|it| it.contains(scene.reason)), "{finding:?}");
            assert_eq!(diagnosis.drop_causes, [scene.code]);
            let broken = diagnosis.peers.iter().filter(|it| it.state == PeerState::Broken);
            let expected: &[_] =
                if scene.severity == Severity::Critical { &[plan.hit_cidr()] } else { &[] };
            assert_eq!(broken.map(|it| it.cidr).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn a_function_that_drops_for_other_reasons_too_needs_the_counter() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for scene in &SCENES {
        for (counted, expected) in [(30, true), (15, true), (14, false), (0, false)] {
            let mut evidence = scene.evidence(&plan, Much { counted, ..MUCH });
            without_reason(&mut evidence);
            let told = told(&scene.judged(&mut evidence));
            let is_it = told == [scene.of_hit(&plan)];
            assert_eq!(is_it, expected, "{} {counted}: {told:?}", scene.code);
            assert_eq!(told.len(), 1, "it is unexplained at least: {told:?}");
        }
    }
}

#[test]
fn without_drops_the_counter_must_cover_all_that_was_missed() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for scene in &SCENES {
        for headers_read in [None, Some(false)] {
            for (counted, covers) in [(30, true), (29, false)] {
                let mut evidence = scene.evidence(&plan, Much { counted, ..MUCH });
                let unread = |headers_read| Drops { headers_read, ..Drops::default() };
                evidence.drops = headers_read.map(unread);
                let told = told(&scene.judged(&mut evidence));
                // The filter's counter is one of all devices, and the way back is right here.
                let expected = covers && scene.code != REVERSE_PATH.code;
                let is_it = told == [scene.of_hit(&plan)];
                assert_eq!(is_it, expected, "{} {counted}: {told:?}", scene.code);
                assert_eq!(told.len(), 1, "it is unexplained at least: {told:?}");
            }
        }
    }
}

#[test]
fn few_packets_or_half_a_window_or_what_nobody_misses_are_healthy() {
    for scene in &SCENES {
        for (dropped, lost) in [
            ((2, 1), (2, 1)),
            ((30, 0), (30, 0)),
            ((30, 30), (30, 30)),
            ((30, 15), (0, 0)),
            ((30, 15), (2, 1)),
            ((3, 1), (0, 0)),
        ] {
            for is_named in [true, false] {
                finds_nothing(|evidence| {
                    let plan = Plan::of(3, Pass::Tables);
                    let broken = scene.evidence(&plan, Much { dropped, lost, counted: 30 });
                    let own = (evidence.intent.clone(), evidence.roles.clone());
                    *evidence = Evidence { intent: own.0, roles: own.1, ..broken };
                    if !is_named {
                        without_reason(evidence);
                    }
                });
            }
        }
    }
}

#[test]
fn a_few_of_very_many_are_healthy() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for scene in &SCENES {
        let mut evidence = scene.evidence(&plan, MUCH);
        let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
        (traffic.packets.wire_in, traffic.packets.overlay_in) = (3001, 3001);
        assert_eq!(told(&scene.judged(&mut evidence)), [""; 0], "{}", scene.code);
    }
}

#[test]
fn what_is_dropped_elsewhere_or_of_others_is_not_the_tunnels() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for scene in &SCENES {
        let elsewhere: [fn(&Plan, &mut Drop); 3] = [
            // Datagrams of anybody to another port of the node.
            |plan, drop| {
                drop.outer = None;
                let flow = drop.flow.as_mut().unwrap();
                (flow.source, flow.destination) = (plan.gateway(), plan.node_ip(plan.own));
            },
            |_, drop| drop.place = crate::evidence::DropPlace::Pod,
            |_, drop| drop.flow = None,
        ];
        for change in elsewhere {
            let mut evidence = scene.evidence(&plan, Much { counted: 0, ..MUCH });
            change(&plan, &mut evidence.drops.as_mut().unwrap().entries[0]);
            let told = told(&scene.judged(&mut evidence));
            assert_eq!(told, [format!("unexplained-loss {}", plan.hit_cidr())]);
        }
    }
}

// === rp-filter-drops-inner ===

#[test]
fn only_a_strict_filter_drops() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for (all, overlay, is_strict) in [(0, 1, true), (1, 0, true), (0, 0, false), (2, 1, false)] {
        let mut evidence = REVERSE_PATH.evidence(&plan, MUCH);
        set_filter(evidence.statistics.as_mut().unwrap(), all, overlay);
        let told = told(&REVERSE_PATH.judged(&mut evidence));
        assert_eq!(told == [REVERSE_PATH.of_hit(&plan)], is_strict, "{all} {overlay}: {told:?}");
    }
}

#[test]
fn without_headers_what_the_filter_drops_on_the_overlay_device_makes_it_likely() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let code = REVERSE_PATH.code;
    for (device, lost, expected) in [
        ("flannel.1", 30, code),
        ("flannel.1", 31, "unexplained-loss"),
        ("eth0", 30, "unexplained-loss"),
    ] {
        let much = Much { lost: (lost, 15), counted: 0, ..MUCH };
        let mut evidence = REVERSE_PATH.evidence(&plan, much);
        let drops = evidence.drops.as_mut().unwrap();
        drops.headers_read = false;
        (drops.entries[0].flow, drops.entries[0].interface) = (None, Some(device.to_owned()));
        let diagnosis = REVERSE_PATH.judged(&mut evidence);
        assert_eq!(told(&diagnosis), [format!("{expected} {}", plan.hit_cidr())]);
        assert_eq!(diagnosis.findings[0].confidence, Confidence::Likely);
    }
}

#[test]
fn a_missing_route_is_the_cause_and_the_filter_a_break_of_it() {
    for pass in PASSES {
        for drops_are_read in [true, false] {
            let plan = Plan::of(3, pass);
            let cidr = plan.hit_cidr();
            let mut evidence = REVERSE_PATH.evidence(&plan, MUCH);
            tables(&mut evidence).routes.retain(|route| route.destination != cidr);
            if !drops_are_read {
                evidence.drops = None;
            }
            let diagnosis = REVERSE_PATH.judged(&mut evidence);
            assert_eq!(told(&diagnosis), [format!("pod-route-missing {cidr}")]);
            let breaks = &diagnosis.findings[0].breaks;
            assert!(breaks.iter().any(|it| it.contains("rp_filter")), "{breaks:?}");
        }
    }
}

#[test]
fn the_remedy_is_a_loose_filter_of_the_overlay_device() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let diagnosis = REVERSE_PATH.judged(&mut REVERSE_PATH.evidence(&plan, MUCH));
    let remedy = &diagnosis.findings[0].remedy;
    assert_eq!(remedy[0], "sysctl -w net/ipv4/conf/flannel.1/rp_filter=2");
    assert!(remedy[1].contains("src_valid_mark"), "{remedy:?}");
}
