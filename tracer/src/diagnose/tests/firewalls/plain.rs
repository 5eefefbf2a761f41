//! `fw-drops-pod-to-node` and `egress-dropped`: no stage counts these packets.

use super::{
    super::super::testing::{BRIDGE, POLICY, address, flow_of, judge_ipv4, link, tables, via},
    *,
};
use crate::evidence::{Flow, IcmpError, Sight, Sighting};

/// An address outside of any cluster (RFC 5737), and a private one.
const OUTSIDE: &str = "198.51.100.7";
const PRIVATE: &str = "10.96.0.10";

/// Something that a pod of this node asks for in vain.
type Asked = fn(&Plan) -> IpAddr;

const NODE: Asked = |plan| nth_address(plan.own_cidr(), 1);
const WORLD: Asked = |_| OUTSIDE.parse().unwrap();

/// What a filter drops, and what that is called.
const DROPPED: [(Asked, &str); 2] =
    [(NODE, "fw-drops-pod-to-node n1"), (WORLD, "egress-dropped n1")];

fn asked(plan: &Plan, whom: Asked) -> Drop {
    datagram(pod(plan), whom(plan), "cni0")
}

fn hit(evidence: &mut Evidence, plan: &Plan, whom: Asked) {
    drop_also(evidence, [asked(plan, whom)]);
}

/// Connections that are tried again and again, each by a port of its own.
fn attempts(plan: &Plan, whom: Asked) -> Vec<Drop> {
    let attempt = |number: u16| {
        let drop = with_ports(asked(plan, whom), TCP, 41_000 + number, 443);
        Drop { packets: 2, early: u64::from(number < 2), ..drop }
    };
    (0..4).map(attempt).collect()
}

/// A flow that reached a pod of this node.
fn came(plan: &Plan, whom: Asked, ports: (u8, u16, u16)) -> Flow {
    let packets = StageCounts { pod_in: 4, ..StageCounts::default() };
    let name = DropFlow {
        source: whom(plan),
        destination: pod(plan),
        protocol: ports.0,
        source_port: ports.1,
        destination_port: ports.2,
    };
    Flow { born_in_window: true, ..flow_of(name, packets) }
}

/// This node answers with "port unreachable".
fn refuse(evidence: &mut Evidence, plan: &Plan, quoted: DropFlow, (kind, code): (u8, u8)) {
    let (sender, receiver) = (nth_address(plan.own_cidr(), 1), quoted.source);
    // The source port is never quoted.
    let quoted = DropFlow { source_port: 0, ..quoted };
    let what = Sight::IcmpError(IcmpError { sender, receiver, kind, code, mtu: 0, quoted });
    let sighting = Sighting { interface: "cni0".to_owned(), what, packets: 4, early: 2 };
    evidence.traffic.as_mut().unwrap().sightings.push(sighting);
}

#[test]
fn what_pods_ask_in_vain_for_is_told_with_its_port() {
    for (whom, expected) in DROPPED {
        for plan in plans(&[2, 3]) {
            for drops in [vec![asked(&plan, whom)], vec![without_reason(asked(&plan, whom))]] {
                let mut evidence = plan.evidence();
                drop_also(&mut evidence, drops);
                let diagnosis = assert_one(&mut evidence, expected, Severity::Warning);
                let finding = &diagnosis.findings[0];
                assert_eq!((finding.impact.packets, finding.impact.flows), (PACKETS, 1));
                assert!(finding.evidence[1].contains("UDP 53"), "{finding:#?}");
                assert!(expected.starts_with(diagnosis.drop_causes[0]), "{diagnosis:#?}");
            }
        }
    }
}

#[test]
fn connections_that_are_tried_again_and_again_are_blocked() {
    for (whom, expected) in DROPPED {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            drop_also(&mut evidence, attempts(&plan, whom));
            assert_one(&mut evidence, expected, Severity::Warning);
        }
    }
}

#[test]
fn a_node_without_peers_has_them_too() {
    for (whom, expected) in DROPPED {
        let plan = Plan { own: 0, ..Plan::of(1, PASSES[1]) };
        let mut evidence = plan.evidence();
        hit(&mut evidence, &plan, whom);
        let expected = expected.replace("n1", "n0");
        assert_eq!(told(&judge(&mut evidence)), [expected]);
    }
}

#[test]
fn all_that_is_dropped_is_one_finding() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        hit(&mut evidence, &plan, WORLD);
        hit(&mut evidence, &plan, |_| "203.0.113.5".parse().unwrap());
        drop_also(&mut evidence, attempts(&plan, WORLD));
        let diagnosis = assert_one(&mut evidence, "egress-dropped n1", Severity::Warning);
        assert_eq!(diagnosis.findings[0].impact.packets, 2 * PACKETS + 8);
    }
}

// === What is none of a firewall's, or not enough ===

#[test]
fn few_drops_or_those_of_one_half_of_the_window_are_nothing() {
    for (whom, _) in DROPPED {
        for (packets, early) in [(2, 1), (PACKETS, 0), (PACKETS, PACKETS)] {
            assert_told(&[], |evidence, plan| {
                drop_also(evidence, [Drop { packets, early, ..asked(plan, whom) }]);
            });
        }
    }
}

#[test]
fn an_answered_flow_is_not_blocked() {
    for (whom, _) in DROPPED {
        assert_told(&[], |evidence, plan| {
            hit(evidence, plan, whom);
            let echo = Drop { packets: 9, early: 4, ..asked(plan, whom) };
            drop_also(evidence, [with_ports(echo, 1, 8, 77)]);
            let flows = &mut evidence.traffic.as_mut().unwrap().flows;
            flows.extend([came(plan, whom, (UDP, 53, 40_000)), came(plan, whom, (1, 0, 77))]);
        });
    }
}

/// kube-proxy, firewalld and ufw drop the last segments of connections that conntrack has forgotten.
#[test]
fn late_segments_are_dropped_on_every_node() {
    for (whom, _) in DROPPED {
        // The port answers others.
        assert_told(&[], |evidence, plan| {
            drop_also(evidence, attempts(plan, whom));
            let others = came(plan, whom, (TCP, 443, 50_000));
            evidence.traffic.as_mut().unwrap().flows.push(others);
        });
        // They answered by a service's address, which their answers have again in the pods.
        assert_told(&[], |evidence, plan| {
            let drops = attempts(plan, whom);
            let answer = |drop: &Drop| {
                let DropFlow { source, source_port, .. } = drop.flow.unwrap();
                let service = "10.96.0.1".parse().unwrap();
                let came = came(plan, whom, (TCP, 443, source_port));
                Flow { source: service, destination: source, ..came }
            };
            evidence.traffic.as_mut().unwrap().flows.extend(drops.iter().map(answer));
            drop_also(evidence, drops);
        });
        // Their answers may be among the flows that are not listed.
        assert_told(&[], |evidence, plan| {
            drop_also(evidence, attempts(plan, whom));
            evidence.traffic.as_mut().unwrap().flows_left_out = 1;
        });
        // Two connections only, many segments.
        assert_told(&[], |evidence, plan| {
            let few = attempts(plan, whom).into_iter().skip(1).take(2);
            drop_also(evidence, few.map(|drop| Drop { packets: 20, ..drop }));
        });
        // None of them began late.
        assert_told(&[], |evidence, plan| {
            let old = attempts(plan, whom).into_iter();
            drop_also(evidence, old.map(|drop| Drop { packets: 4, early: 2, ..drop }));
        });
        // Each to another port.
        assert_told(&[], |evidence, plan| {
            let drops = attempts(plan, whom).into_iter().zip(1..);
            drop_also(evidence, drops.map(|(drop, port)| with_ports(drop, TCP, 41_000, port)));
        });
        // Answers to nobody.
        assert_told(&[], |evidence, plan| {
            drop_also(evidence, [with_ports(asked(plan, whom), 1, 0, 77)]);
        });
    }
}

#[test]
fn what_something_else_drops_is_no_firewalls() {
    for (whom, _) in DROPPED {
        for (reason, symbol) in
            [(Some("NO_SOCKET"), "__udp4_lib_rcv"), (Some("IP_RPFILTER"), "ip_rcv_finish_core")]
        {
            assert_told(&[], |evidence, plan| {
                let drop = asked(plan, whom);
                let (reason, symbol) = (reason.map(str::to_owned), Some(symbol.to_owned()));
                drop_also(evidence, [Drop { reason, symbol, ..drop }]);
            });
        }
        assert_told(&[], |evidence, plan| {
            hit(evidence, plan, whom);
            let raced = Conntrack { entries: 9, most: 999, dropped: 9, insert_failed: PACKETS };
            set_conntrack(evidence, raced);
        });
    }
}

#[test]
fn what_network_policies_may_forbid_is_told_in_words_only() {
    for (whom, _) in DROPPED {
        assert_unseen(&format!("network policies, as {POLICY} here"), |evidence, plan| {
            evidence.intent.policy_netfilter = vec![POLICY.to_owned()];
            hit(evidence, plan, whom);
        });
    }
}

/// kube-proxy refuses what is for a service without endpoints, also at a port of the node.
#[test]
fn a_service_without_endpoints_is_no_firewalls() {
    for (whom, _) in DROPPED {
        assert_told(&[], |evidence, plan| {
            hit(evidence, plan, whom);
            let quoted = asked(plan, whom).flow.unwrap();
            refuse(evidence, plan, quoted, (3, 3));
        });
    }
}

#[test]
fn a_firewall_that_rejects_is_told_as_one_that_drops() {
    for (whom, expected) in DROPPED {
        for plan in plans(&[3]) {
            let mut evidence = plan.evidence();
            hit(&mut evidence, &plan, whom);
            let quoted = asked(&plan, whom).flow.unwrap();
            refuse(&mut evidence, &plan, quoted, (3, 13));
            // A closed port of another pod's interest.
            let other = DropFlow { destination_port: 9, ..quoted };
            refuse(&mut evidence, &plan, other, (3, 3));
            assert_one(&mut evidence, expected, Severity::Warning);
        }
    }
}

#[test]
fn the_node_s_own_packets_and_those_of_others_are_not_its_pods() {
    for source in ["192.0.2.9", "10.200.0.9"] {
        for (whom, _) in DROPPED {
            assert_told(&[], |evidence, plan| {
                drop_also(evidence, [datagram(source.parse().unwrap(), whom(plan), "eth0")]);
                let host = nth_address(plan.own_cidr(), 1);
                drop_also(evidence, [datagram(host, whom(plan), "eth0")]);
            });
        }
    }
}

// === Addresses of services ===

#[test]
fn addresses_of_services_that_live_on_the_node_are_not_the_node() {
    let services: Asked = |_| PRIVATE.parse().unwrap();
    assert_told(&[], |evidence, plan| {
        let mut ipvs = link(60, "kube-ipvs0", Some("dummy"));
        ipvs.up = false;
        tables(evidence).links.push(ipvs);
        tables(evidence).addresses.push(address(60, PRIVATE, 32));
        hit(evidence, plan, services);
    });
    assert_told(&["fw-drops-pod-to-node n1"], |evidence, plan| {
        tables(evidence).addresses.push(address(BRIDGE, PRIVATE, 32));
        hit(evidence, plan, services);
    });
}

#[test]
fn an_address_of_a_service_is_no_outside() {
    let service: Asked = |_| PRIVATE.parse().unwrap();
    assert_told(&[], |evidence, plan| {
        evidence.intent.service_cidrs = vec!["10.96.0.0/12".parse().unwrap()];
        hit(evidence, plan, service);
    });
    assert_told(&[], |evidence, plan| {
        let translated_destination = Some(pod(plan));
        let flow = Flow {
            destination: PRIVATE.parse().unwrap(),
            source: pod(plan),
            translated_destination,
            translated_port: None,
            ..came(plan, service, (TCP, 9, 9))
        };
        evidence.traffic.as_mut().unwrap().flows.push(flow);
        hit(evidence, plan, service);
    });
}

#[test]
fn a_private_address_may_be_a_service_s() {
    let service: Asked = |_| PRIVATE.parse().unwrap();
    let kube_proxy = |evidence: &mut Evidence| {
        evidence.intent.service_netfilter = vec!["chain KUBE-SERVICES".into()]
    };
    assert_unseen("whether that is a service's address", |evidence, plan| {
        kube_proxy(evidence);
        hit(evidence, plan, service);
    });
    // Services have other addresses, there are none, or a route leads there.
    assert_told(&["egress-dropped n1"], |evidence, plan| {
        kube_proxy(evidence);
        evidence.intent.service_cidrs = vec!["172.20.0.0/16".parse().unwrap()];
        hit(evidence, plan, service);
    });
    assert_told(&["egress-dropped n1"], |evidence, plan| hit(evidence, plan, service));
    assert_told(&["egress-dropped n1"], |evidence, plan| {
        kube_proxy(evidence);
        let route = via("10.96.0.0/16".parse().unwrap(), Some(plan.gateway()), 2);
        tables(evidence).routes.push(route);
        hit(evidence, plan, service);
    });
}

/// Of the link in IPv4: the twin would have another kind of address.
#[test]
fn addresses_of_the_link_are_the_node_s_affair() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        hit(&mut evidence, &plan, |_| "169.254.169.254".parse().unwrap());
        assert_eq!(told(&judge_ipv4(&mut evidence)), [""; 0]);
    }
}
