//! `fw-drops-vxlan-input`, `fw-drops-vxlan-output`, `fw-drops-forwarded-pod-traffic`: whatever is
//! dropped between two stages.

use super::{
    super::{
        super::{
            Confidence, PeerState, diagnose,
            testing::{POLICY, all_stages, dual, tables, twin, via},
        },
        injections::lose_route,
    },
    *,
};
use crate::evidence::{IcmpError, Platform, Sight, Sighting, SnmpCounters, Statistics};

/// Where a filter drops, and what that is called.
const DROPPED: [(StagePair, &str); 4] = [
    (StagePair::WireToOverlay, "fw-drops-vxlan-input"),
    (StagePair::OverlayToWire, "fw-drops-vxlan-output"),
    (StagePair::PodToOverlay, "fw-drops-forwarded-pod-traffic"),
    (StagePair::OverlayToPod, "fw-drops-forwarded-pod-traffic"),
];

#[test]
fn what_a_firewall_drops_of_a_peer_is_told_of_that_peer() {
    for (pair, code) in DROPPED {
        for plan in plans(&[2, 3, 5]) {
            for with_reason in [true, false] {
                let mut evidence = plan.evidence();
                hit(&mut evidence, &plan, plan.hit(), pair);
                let drops = evidence.drops.as_mut().unwrap();
                if !with_reason {
                    drops.has_reasons = false;
                    drops.entries = drops.entries.drain(..).map(without_reason).collect();
                }
                let expected = format!("{code} {}", plan.hit_cidr());
                let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
                let finding = &diagnosis.findings[0];
                assert_eq!(finding.impact.packets, PACKETS, "{finding:#?}");
                assert_eq!(finding.breaks.len(), 1, "the loss: {finding:#?}");
                assert_eq!(diagnosis.drop_causes, [code]);
                let symbol =
                    if with_reason { "NETFILTER_DROP in nft_do_chain" } else { "nf_hook_slow" };
                assert!(finding.evidence[0].contains(symbol), "{finding:#?}");
                assert!(finding.evidence[1].contains(pair.last_seen().name()), "{finding:#?}");
                assert_eq!(diagnosis.peers.last().unwrap().state, PeerState::Broken);
            }
        }
    }
}

#[test]
fn a_firewall_that_hits_all_peers_is_one_finding() {
    for (pair, code) in DROPPED {
        for plan in plans(&[3, 5]) {
            let mut evidence = plan.evidence();
            plan.peers().for_each(|node| hit(&mut evidence, &plan, node, pair));
            let diagnosis =
                assert_one(&mut evidence, &format!("{code} flannel.1"), Severity::Critical);
            let peers = u64::from(plan.nodes - 1);
            assert_eq!(diagnosis.findings[0].impact.packets, PACKETS * peers);
            assert!(diagnosis.peers.iter().all(|peer| peer.state == PeerState::Broken));
        }
    }
}

#[test]
fn a_policy_of_the_hook_forward_drops_both_ways_and_is_one_finding() {
    for plan in plans(&[2]) {
        let mut evidence = plan.evidence();
        PLAIN.into_iter().for_each(|pair| hit(&mut evidence, &plan, plan.hit(), pair));
        let expected = format!("fw-drops-forwarded-pod-traffic {}", plan.hit_cidr());
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
        assert_eq!(diagnosis.findings[0].impact.packets, 2 * PACKETS);
    }
}

#[test]
fn of_both_ip_versions_the_one_is_told_that_is_hit() {
    for (pair, code) in DROPPED {
        for plan in plans(&[3]) {
            let healthy = plan.evidence();
            let mut faulty = healthy.clone();
            hit(&mut faulty, &plan, plan.hit(), pair);
            let both = dual(&faulty, &twin(&healthy).unwrap(), &faulty);
            assert_eq!(told(&diagnose(&both)), [format!("{code} {}", plan.hit_cidr())]);
        }
    }
}

#[test]
fn the_remedy_is_that_of_the_platform() {
    let plan = Plan::of(3, PASSES[0]);
    for (platform, word) in [(Platform::Talos, "talosctl"), (Platform::Kubeadm, "nft list")] {
        for (pair, code) in DROPPED {
            let mut evidence = plan.evidence();
            evidence.node.platform = platform;
            hit(&mut evidence, &plan, plan.hit(), pair);
            let remedy = judge(&mut evidence).findings.remove(0).remedy;
            assert!(remedy.iter().any(|line| line.contains(word)), "{code}: {remedy:#?}");
        }
    }
}

// === What is none of a firewall's, or not enough ===

#[test]
fn drops_that_the_stages_do_not_confirm_are_nothing() {
    for (pair, _) in DROPPED {
        assert_told(&[], |evidence, plan| drop_also(evidence, [drop_at(plan, plan.hit(), pair)]));
    }
}

#[test]
fn a_few_drops_beside_a_great_loss_are_not_its_cause() {
    for (pair, _) in DROPPED {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            lose(&mut evidence, plan.hit_cidr(), pair, PACKETS);
            let few = Drop { packets: 6, early: 3, ..drop_at(&plan, plan.hit(), pair) };
            drop_also(&mut evidence, [few]);
            let expected = format!("unexplained-loss {}", plan.hit_cidr());
            assert_eq!(told(&judge(&mut evidence)), [expected]);
        }
    }
}

#[test]
fn few_drops_or_those_of_one_half_of_the_window_are_nothing() {
    for (pair, _) in DROPPED {
        for (packets, early) in [(2, 1), (PACKETS, 0), (PACKETS, PACKETS)] {
            assert_told(&[], |evidence, plan| {
                let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
                *lost_at(&mut traffic.lost, pair) = packets;
                *lost_at(&mut traffic.lost_early, pair) = early;
                drop_also(evidence, [Drop { packets, early, ..drop_at(plan, plan.hit(), pair) }]);
            });
        }
    }
}

#[test]
fn a_few_of_very_many_packets_are_nothing() {
    for (pair, _) in DROPPED {
        assert_told(&[], |evidence, plan| {
            let traffic = peer_traffic(evidence, plan.hit_cidr()).unwrap();
            traffic.packets = all_stages(100 * PACKETS + 1);
            hit(evidence, plan, plan.hit(), pair);
        });
    }
}

#[test]
fn what_something_else_drops_is_no_firewalls() {
    for (pair, _) in DROPPED {
        for (reason, symbol) in [
            (Some("IP_RPFILTER"), "ip_rcv_finish_core"),
            (Some("NO_SOCKET"), "__udp4_lib_rcv"),
            (Some("NOT_SPECIFIED"), "vxlan_rcv"),
            (None, "ip_forward"),
        ] {
            for plan in plans(&[3]) {
                let mut evidence = plan.evidence();
                hit(&mut evidence, &plan, plan.hit(), pair);
                let drop = &mut evidence.drops.as_mut().unwrap().entries[0];
                (drop.reason, drop.symbol) = (reason.map(str::to_owned), Some(symbol.to_owned()));
                let expected = format!("unexplained-loss {}", plan.hit_cidr());
                assert_eq!(told(&judge(&mut evidence)), [expected], "{symbol}");
            }
        }
    }
}

#[test]
fn a_full_table_of_connections_drops_by_the_same_function() {
    for (pair, _) in DROPPED {
        assert_told(&["conntrack-table-full n1"], |evidence, plan| {
            hit(evidence, plan, plan.hit(), pair);
            let conntrack =
                Conntrack { entries: 100, most: 100, dropped: PACKETS, insert_failed: 0 };
            set_conntrack(evidence, conntrack);
        });
    }
}

#[test]
fn packets_that_lost_a_race_in_conntrack_are_no_firewalls() {
    for pair in PLAIN {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            hit(&mut evidence, &plan, plan.hit(), pair);
            let raced = Conntrack { entries: 9, most: 999, dropped: 0, insert_failed: PACKETS };
            set_conntrack(&mut evidence, raced);
            let expected = format!("unexplained-loss {}", plan.hit_cidr());
            assert_eq!(told(&judge(&mut evidence)), [expected]);
        }
    }
}

#[test]
fn a_missing_route_goes_before_the_firewall() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        lose_route(&mut evidence, &plan);
        let few = Drop { packets: 12, early: 6, ..drop_at(&plan, plan.hit(), PLAIN[0]) };
        drop_also(&mut evidence, [few]);
        let found = judge(&mut evidence);
        assert_eq!(told(&found), [format!("pod-route-missing {}", plan.hit_cidr())]);
    }
}

// === Whose packets were dropped cannot be read ===

/// Packets are lost, and a filter drops some at this device; nothing tells whose they are.
fn hit_unread(evidence: &mut Evidence, plan: &Plan, pair: StagePair, dropped: u64) {
    lose(evidence, plan.hit_cidr(), pair, PACKETS);
    let drop = drop_at(plan, plan.hit(), pair);
    let (packets, early) = (dropped, dropped / 2);
    drop_also(evidence, [Drop { flow: None, outer: None, packets, early, ..drop }]);
    evidence.drops.as_mut().unwrap().headers_read = false;
    let snmp = Some(SnmpCounters::default());
    evidence.statistics = Some(Statistics { snmp, ..Statistics::default() });
}

#[test]
fn a_filter_that_drops_as_many_as_are_lost_is_likely_the_cause() {
    for (pair, code) in DROPPED {
        for plan in plans(&[2, 3]) {
            let mut evidence = plan.evidence();
            hit_unread(&mut evidence, &plan, pair, PACKETS);
            let expected = format!("{code} {}", plan.hit_cidr());
            let finding =
                assert_one(&mut evidence, &expected, Severity::Critical).findings.remove(0);
            assert_eq!(finding.confidence, Confidence::Likely);
            assert!(finding.evidence[0].contains("cannot be read"), "{finding:#?}");
        }
    }
}

#[test]
fn without_readable_headers_no_firewall_is_named_that_may_be_another_thing() {
    type Change = fn(&mut Evidence, &Plan);
    let fewer: Change = |evidence, _| {
        let drop = &mut evidence.drops.as_mut().unwrap().entries[0];
        (drop.packets, drop.early) = (PACKETS - 1, PACKETS / 2);
    };
    let elsewhere: Change = |evidence, _| {
        let drop = &mut evidence.drops.as_mut().unwrap().entries[0];
        drop.interface = Some("eth9".to_owned());
    };
    let of_the_other_version: Change = |evidence, _| {
        evidence.drops.as_mut().unwrap().entries[0].ethertype = 0x88cc;
    };
    let without_counters: Change = |evidence, _| evidence.statistics = None;
    let raced: Change = |evidence, _| {
        let raced = Conntrack { entries: 9, most: 999, dropped: 0, insert_failed: PACKETS };
        set_conntrack(evidence, raced);
    };
    let unread: Change = |evidence, _| evidence.drops = None;
    for change in [fewer, elsewhere, of_the_other_version, without_counters, raced, unread] {
        for (pair, _) in DROPPED {
            for plan in plans(&[3]) {
                let mut evidence = plan.evidence();
                hit_unread(&mut evidence, &plan, pair, PACKETS);
                change(&mut evidence, &plan);
                let expected = format!("unexplained-loss {}", plan.hit_cidr());
                assert_eq!(told(&judge(&mut evidence)), [expected]);
            }
        }
    }
}

#[test]
fn a_counter_that_shows_another_cause_goes_before_a_likely_firewall() {
    type Count = fn(&mut SnmpCounters);
    let counters: [(StagePair, Count); 4] = [
        (StagePair::WireToOverlay, |snmp| snmp.udp_in_checksum_errors = 1),
        (StagePair::WireToOverlay, |snmp| snmp.tcp_ext_reverse_path_filter = 1),
        (StagePair::OverlayToWire, |snmp| snmp.ip_fragment_fails = 1),
        (StagePair::OverlayToPod, |snmp| snmp.tcp_ext_reverse_path_filter = 1),
    ];
    for (pair, count) in counters {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            hit_unread(&mut evidence, &plan, pair, PACKETS);
            count(evidence.statistics.as_mut().unwrap().snmp.as_mut().unwrap());
            let expected = format!("unexplained-loss {}", plan.hit_cidr());
            assert_eq!(told(&judge(&mut evidence)), [expected]);
        }
    }
}

#[test]
fn a_few_forwarded_packets_that_a_filter_drops_are_no_block_while_nobody_sees_which() {
    for pair in PLAIN {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            hit_unread(&mut evidence, &plan, pair, PACKETS);
            // What belonged to no connection, of many.
            let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
            let (packets, early) = (&mut traffic.packets, &mut traffic.early);
            for count in [&mut packets.pod_out, &mut packets.overlay_in] {
                *count = 3 * PACKETS;
            }
            for count in [&mut early.pod_out, &mut early.overlay_in] {
                *count = 3 * PACKETS / 2;
            }
            let expected = format!("unexplained-loss {}", plan.hit_cidr());
            assert_eq!(told(&judge(&mut evidence)), [expected]);
        }
    }
}

// === Forwarded packets ===

/// kube-proxy drops what conntrack calls INVALID: here of connections that have ended, of answers to
/// nobody, and of a port that answers others.
#[test]
fn what_belongs_to_no_connection_is_dropped_on_every_node() {
    for pair in PLAIN {
        for (protocol, source_port, destination_port) in
            [(TCP, 40_001, 80), (TCP, 41_000, 80), (TCP, 80, 40_001), (1, 0, 77), (1, 3, 3)]
        {
            for plan in plans(&[3]) {
                let mut evidence = plan.evidence();
                lose(&mut evidence, plan.hit_cidr(), pair, 8);
                let late = |number: u16| {
                    let drop = drop_at(&plan, plan.hit(), pair);
                    let ephemeral =
                        if source_port > 1024 { source_port + number } else { source_port };
                    let drop = with_ports(drop, protocol, ephemeral, destination_port);
                    Drop { packets: 2, early: 1, ..drop }
                };
                drop_also(&mut evidence, (0..4).map(late));
                let expected = format!("unexplained-loss {}", plan.hit_cidr());
                assert_eq!(told(&judge(&mut evidence)), [expected], "{protocol} {source_port}");
            }
        }
    }
}

#[test]
fn connections_that_are_tried_again_and_again_are_blocked() {
    for pair in PLAIN {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            lose(&mut evidence, plan.hit_cidr(), pair, 8);
            let attempt = |number: u16| {
                let drop = drop_at(&plan, plan.hit(), pair);
                let early = u64::from(number < 2);
                Drop { packets: 2, early, ..with_ports(drop, TCP, 41_000 + number, 5432) }
            };
            drop_also(&mut evidence, (0..4).map(attempt));
            let expected = format!("fw-drops-forwarded-pod-traffic {}", plan.hit_cidr());
            let lines =
                &assert_one(&mut evidence, &expected, Severity::Critical).findings[0].evidence;
            assert!(lines.iter().any(|line| line.contains("TCP 5432 (8 packets)")), "{lines:#?}");
        }
    }
}

#[test]
fn what_network_policies_may_forbid_is_told_in_words_only() {
    for pair in PLAIN {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            evidence.intent.policy_netfilter = vec![POLICY.to_owned()];
            hit(&mut evidence, &plan, plan.hit(), pair);
            let diagnosis = judge(&mut evidence);
            assert_eq!(told(&diagnosis), [""; 0]);
            let line = "why a packet filter dropped 40 packets";
            assert!(diagnosis.unseen.iter().any(|it| it.starts_with(line)), "{diagnosis:#?}");
        }
    }
}

/// Calico's chains are there without a policy; those of another node's pods drop nothing here.
#[test]
fn policies_elsewhere_drop_nothing_here() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        evidence.intent.policy_elsewhere = vec!["chain cali-FORWARD".to_owned()];
        hit(&mut evidence, &plan, plan.hit(), StagePair::PodToOverlay);
        let found = told(&judge(&mut evidence));
        assert!(found.len() == 1 && found[0].starts_with("fw-drops-forwarded"), "{found:?}");
    }
}

#[test]
fn network_policies_forbid_no_tunnel() {
    for pair in TUNNEL {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            evidence.intent.policy_netfilter = vec![POLICY.to_owned()];
            hit(&mut evidence, &plan, plan.hit(), pair);
            let found = told(&judge(&mut evidence));
            assert!(found.len() == 1 && found[0].starts_with("fw-drops-vxlan"), "{found:?}");
        }
    }
}

#[test]
fn what_this_node_answers_by_icmp_it_rejects() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        hit(&mut evidence, &plan, plan.hit(), StagePair::PodToOverlay);
        let quoted = evidence.drops.as_ref().unwrap().entries[0].flow.unwrap();
        let sender = nth_address(plan.own_cidr(), 1);
        let receiver = quoted.source;
        let what =
            Sight::IcmpError(IcmpError { sender, receiver, kind: 3, code: 13, mtu: 0, quoted });
        let sighting = Sighting { interface: "cni0".to_owned(), what, packets: 4, early: 2 };
        evidence.traffic.as_mut().unwrap().sightings.push(sighting);
        let expected = format!("fw-rejects-forwarded-pod-traffic {}", plan.hit_cidr());
        assert_eq!(told(&judge(&mut evidence)), [expected]);
    }
}

/// What leaks to an uplink, or is the node's own, is not what pods send through the hook forward.
#[test]
fn what_is_dropped_elsewhere_is_not_forwarded() {
    for plan in plans(&[3]) {
        let host = nth_address(plan.own_cidr(), 1);
        let theirs = nth_address(plan.hit_cidr(), 5);
        for drop in [
            datagram(pod(&plan), theirs, "eth0"),
            datagram(host, theirs, "flannel.1"),
            datagram("192.0.2.9".parse().unwrap(), theirs, "cni0"),
        ] {
            let mut evidence = plan.evidence();
            lose(&mut evidence, plan.hit_cidr(), StagePair::PodToOverlay, PACKETS);
            drop_also(&mut evidence, [drop]);
            let expected = format!("unexplained-loss {}", plan.hit_cidr());
            assert_eq!(told(&judge(&mut evidence)), [expected]);
        }
    }
}

#[test]
fn peers_that_are_routed_directly_have_no_stages_to_agree() {
    assert_told(&[], |evidence, plan| {
        let (cidr, node) = (plan.hit_cidr(), plan.node_ip(plan.hit()));
        tables(evidence).routes.retain(|route| route.destination != cidr);
        let direct = via(cidr, Some(node), 2);
        tables(evidence).routes.push(direct);
        drop_also(evidence, [drop_at(plan, plan.hit(), StagePair::PodToOverlay)]);
    });
}
