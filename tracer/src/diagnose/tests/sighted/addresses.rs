//! Addresses that two have, that nobody has, and that should not be seen outside.

use super::{
    super::super::{
        Severity, diagnose,
        testing::{BRIDGE, LO, Pass, UPLINK, address, flow_of, mac, twin, via},
    },
    *,
};
use crate::evidence::{Flow, Platform};

const ONE: MacAddress = MacAddress([2, 0, 0, 0, 1, 1]);
const TWO: MacAddress = MacAddress([2, 0, 0, 0, 1, 2]);

fn received(plan: &Plan, source: IpAddr) -> Flow {
    Flow { outer_source: Some(plan.node_ip(plan.hit())), ..flow(plan, source) }
}

fn flow(plan: &Plan, source: IpAddr) -> Flow {
    flow_of(
        DropFlow {
            source,
            destination: nth_address(plan.own_cidr(), 9),
            protocol: 17,
            source_port: 5000,
            destination_port: 53,
        },
        StageCounts { wire_in: 40, overlay_in: 40, ..StageCounts::default() },
    )
}

fn list(evidence: &mut Evidence, flow: Flow) {
    evidence.traffic.as_mut().unwrap().flows.push(flow);
}

/// A flow of a pod for `destination` that left un-encapsulated.
fn leak(evidence: &mut Evidence, plan: &Plan, destination: IpAddr) {
    let flow = Flow {
        source: nth_address(plan.own_cidr(), 9),
        destination,
        packets: StageCounts { pod_out: 40, ..StageCounts::default() },
        leaked: 40,
        ..flow(plan, destination)
    };
    list(evidence, flow);
    evidence.traffic.as_mut().unwrap().stages.leak.packets += 40;
}

#[test]
fn an_address_of_this_node_as_the_source_of_what_comes_from_a_peer() {
    for plan in plans(&[2, 3]) {
        // A peer's pod has an address that is on this node's lo; both nodes have one CIDR.
        let on_lo = pod(&plan);
        let of_bridge = nth_address(plan.own_cidr(), 1);
        for source in [on_lo, of_bridge] {
            let mut evidence = plan.evidence();
            if source == on_lo {
                let address = address(LO, &on_lo.to_string(), 32);
                tables(&mut evidence).addresses.push(address);
            }
            lose_at_overlay(&mut evidence, &plan, plan.hit());
            list(&mut evidence, received(&plan, source));
            let expected = format!("duplicate-pod-cidr-or-address {}", plan.hit_cidr());
            let diagnosis = assert_one(&mut evidence, &expected, Severity::Critical);
            assert_eq!(diagnosis.findings[0].subject.address, Some(source));
        }
    }
}

#[test]
fn this_nodes_own_packets_that_come_back_are_no_second_owner() {
    assert_healthy(3, |evidence, plan| {
        let own = plan.own_cidr().network();
        let mut looped = received(plan, own);
        looped.packets.overlay_out = 40;
        list(evidence, looped);
        // From this node itself, in a loop over its own device.
        let mut own_loop = received(plan, own);
        own_loop.outer_source = Some(plan.node_ip(plan.own));
        list(evidence, own_loop);
        let mut unknown = received(plan, own);
        unknown.outer_source = Some(plan.node_ip(90));
        list(evidence, unknown);
    });
}

#[test]
fn two_macs_that_claim_one_pod_address_all_the_time() {
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        let address = nth_address(plan.own_cidr(), 9);
        for mac in [ONE, TWO] {
            see(&mut evidence, "cni0", Sight::Claim { address, mac }, 6);
        }
        let expected = format!("duplicate-pod-ip {address}");
        assert_one(&mut evidence, &expected, Severity::Warning);
    }
}

#[test]
fn claims_of_healthy_pods() {
    assert_healthy(3, |evidence, plan| {
        // An address that goes from one pod to another, soon and late in the window.
        let moved = nth_address(plan.own_cidr(), 9);
        see_early(evidence, "cni0", Sight::Claim { address: moved, mac: ONE }, 6, 6);
        see_early(evidence, "cni0", Sight::Claim { address: moved, mac: TWO }, 6, 3);
        let moved = nth_address(plan.own_cidr(), 10);
        see_early(evidence, "cni0", Sight::Claim { address: moved, mac: ONE }, 6, 3);
        see_early(evidence, "cni0", Sight::Claim { address: moved, mac: TWO }, 6, 0);
        // An address of a load balancer, the bridge's own, and a pod that answers for all.
        let own = nth_address(plan.own_cidr(), 1);
        for address in [plan.node_ip(100), own] {
            for mac in [ONE, TWO] {
                see(evidence, "cni0", Sight::Claim { address, mac }, 6);
            }
        }
        for nth in 20..24 {
            let address = nth_address(plan.own_cidr(), nth);
            let own = MacAddress([2, 0, 0, 0, 2, u8::try_from(nth).unwrap()]);
            for mac in [own, mac(77)] {
                see(evidence, "cni0", Sight::Claim { address, mac }, 6);
            }
        }
    });
}

fn call(plan: &Plan, destination: &str) -> Sight {
    let source = nth_address(plan.own_cidr(), 9);
    Sight::Unmasqueraded { source, destination: destination.parse().unwrap(), port: 443 }
}

#[test]
fn connections_that_leave_with_a_pods_address_although_flannel_masquerades() {
    for plan in plans(&[2, 3]).into_iter().filter(|plan| plan.pass != Pass::Tables) {
        let mut evidence = plan.evidence();
        see(&mut evidence, "eth0", call(&plan, OUTSIDE), 9);
        let expected = format!("masquerade-rules-missing n{}", plan.own);
        let diagnosis = assert_one(&mut evidence, &expected, Severity::Warning);
        assert_eq!(diagnosis.findings[0].subject.interface.as_deref(), Some("eth0"));
    }
}

#[test]
fn connections_that_may_leave_with_a_pods_address() {
    for ip_masq in [Some(false), None] {
        assert_healthy(3, |evidence, plan| {
            evidence.intent.subnet_env.iter_mut().for_each(|env| env.ip_masq = ip_masq);
            see(evidence, "eth0", call(plan, OUTSIDE), 900);
        });
    }
    assert_healthy(3, |evidence, plan| {
        evidence.intent.service_cidrs.push("10.96.0.0/12".parse().unwrap());
        see(evidence, "eth0", call(plan, "10.96.0.10"), 900);
        see(evidence, "eth0", call(plan, &pod(plan).to_string()), 900);
        let destination = OUTSIDE.parse().unwrap();
        let of_node = Sight::Unmasqueraded { source: plan.node_ip(plan.own), destination, port: 1 };
        see(evidence, "eth0", of_node, 900);
        see_early(evidence, "eth0", call(plan, OUTSIDE), 900, 0);
    });
}

/// k3s writes FLANNEL_IPMASQ=true also where it does not masquerade IPv6.
#[test]
fn of_ipv6_the_subnet_env_of_k3s_says_nothing() {
    for (platform, expected) in [(Platform::K3sServer, 0), (Platform::Kubeadm, 1)] {
        let plan = Plan::of(3, Pass::SubnetEnv);
        let mut evidence = plan.evidence();
        see(&mut evidence, "eth0", call(&plan, OUTSIDE), 900);
        let mut twin = twin(&evidence).unwrap();
        twin.node.platform = platform;
        let diagnosis = diagnose(&twin);
        assert_eq!(diagnosis.findings.len(), expected, "{diagnosis:#?}");
        let is_said = diagnosis.unseen.iter().any(|line| line.contains("--flannel-ipv6-masq"));
        assert_eq!(is_said, expected == 0);
    }
}

#[test]
fn a_node_that_left_while_clients_keep_calling() {
    for plan in plans(&[2, 3]) {
        let mut evidence = plan.evidence();
        let gone = nth_address(plan.cidr(99), 5);
        leak(&mut evidence, &plan, gone);
        let diagnosis = judge(&mut evidence);
        if plan.pass == Pass::Tables {
            // Nothing names the cluster's network: it may be somebody else's.
            assert_eq!(told(&diagnosis), [""; 0]);
            assert!(diagnosis.unseen.iter().any(|line| line.contains("40 packets left")));
        } else {
            let expected = format!("leak-to-unassigned-cidr {}", plan.cidr(99));
            let diagnosis = assert_one(&mut evidence, &expected, Severity::Info);
            assert_eq!(diagnosis.findings[0].impact.packets, 40);
        }
    }
}

#[test]
fn leaks_to_networks_that_somebody_made_a_route_for() {
    assert_healthy(3, |evidence, plan| {
        let route = via(plan.cidr(99), Some(plan.gateway()), UPLINK);
        tables(evidence).routes.push(route);
        leak(evidence, plan, nth_address(plan.cidr(99), 5));
        // Not of a pod of this node.
        leak(evidence, plan, nth_address(plan.cidr(98), 5));
        evidence.traffic.as_mut().unwrap().flows.last_mut().unwrap().source = plan.node_ip(3);
    });
}

#[test]
fn leaks_of_a_node_that_knows_no_peer_name_no_owner_and_no_cause() {
    let plan = Plan::of(1, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    leak(&mut evidence, &plan, nth_address(plan.cidr(99), 5));
    let diagnosis = judge(&mut evidence);
    assert!(diagnosis.findings.iter().all(|it| it.code != "leak-to-unassigned-cidr"));
}

#[test]
fn a_leak_to_a_peer_that_lives_is_a_missing_route() {
    for plan in plans(&[3]) {
        let mut evidence = plan.evidence();
        super::super::injections::lose_route(&mut evidence, &plan);
        leak(&mut evidence, &plan, pod(&plan));
        let expected = format!("pod-route-missing {}", plan.hit_cidr());
        assert_one(&mut evidence, &expected, Severity::Critical);
    }
}

#[test]
fn a_device_that_is_gone_explains_all_leaks() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    super::super::injections::down_bridge(&mut evidence, &plan);
    leak(&mut evidence, &plan, nth_address(plan.cidr(99), 5));
    assert_one(&mut evidence, "cni0-down cni0", Severity::Critical);
    assert_eq!(evidence.roles.bridge, Some(BRIDGE));
}
