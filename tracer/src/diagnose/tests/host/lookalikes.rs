//! Healthy nodes whose settings look like those faults: no finding.

use ipnet::IpNet;

use super::{
    super::super::{
        Diagnosis, Severity, diagnose, exit_status,
        testing::{
            BRIDGE, OVERLAY, PASSES, Pass, Plan, UPLINK, VETH, address, judge, judge_ipv4, link,
            tables, told, via,
        },
    },
    plans, route_directly, set_forwarding, set_mtu,
};
use crate::{
    evidence::{Evidence, Link, Scope, Traffic},
    topology::nth_address,
};

/// Applies `change` to healthy nodes of all passes and asserts that nothing is found.
fn assert_healthy(change: impl Fn(&mut Evidence, &Plan)) {
    assert_healthy_by(judge, change);
}

fn assert_healthy_by(judge: fn(&mut Evidence) -> Diagnosis, change: impl Fn(&mut Evidence, &Plan)) {
    for plan in plans() {
        let mut evidence = plan.evidence();
        change(&mut evidence, &plan);
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [""; 0], "{plan:?}\n{diagnosis:#?}");
        assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 0);
    }
}

#[test]
fn a_device_of_which_nothing_must_be_forwarded() {
    assert_healthy(|evidence, _| set_forwarding(evidence, &[Scope::Device(UPLINK)], false));
    // The devices decide, and somebody switched each of them on.
    assert_healthy_by(judge_ipv4, |evidence, _| set_forwarding(evidence, &[Scope::All], false));
    assert_healthy(|evidence, plan| {
        route_directly(evidence, plan);
        set_forwarding(evidence, &[Scope::Device(OVERLAY)], false);
    });
}

#[test]
fn a_node_without_pods_on_which_forwarding_is_not_yet_on() {
    for pass in PASSES {
        let plan = Plan { pods: 0, ..Plan::of(3, pass) };
        let mut evidence = plan.evidence();
        for setting in &mut tables(&mut evidence).forwarding {
            setting.enabled = false;
        }
        assert_eq!(told(&judge(&mut evidence)), [""; 0]);
    }
}

#[test]
fn evidence_that_was_saved_before_forwarding_was_read() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut saved = serde_json::to_value(plan.evidence()).unwrap();
    saved["tables"].as_object_mut().unwrap().remove("forwarding").unwrap();
    let loaded: Evidence = serde_json::from_value(saved).unwrap();
    assert_eq!(told(&diagnose(&loaded)), [""; 0]);
}

#[test]
fn other_addresses_on_the_bridge() {
    assert_healthy(|evidence, _| {
        tables(evidence).addresses.push(address(BRIDGE, "192.0.2.1", 24));
    });
    assert_healthy(|evidence, plan| {
        // A gateway that the CNI configuration chose.
        let last = nth_address(plan.own_cidr(), 254).to_string();
        let addresses = &mut tables(evidence).addresses;
        addresses.retain(|it| it.ifindex != BRIDGE);
        addresses.push(address(BRIDGE, &last, 24));
    });
    // Dual stack, and the pods of this node have no IPv6 address.
    assert_healthy(|evidence, _| {
        if let Some(env) = &mut evidence.intent.subnet_env {
            env.subnets.push("fd00:244:0:1::1/64".parse().unwrap());
        }
        add_twin(evidence);
    });
}

#[test]
fn a_bridge_of_other_containers_or_without_pods() {
    let without_ports = |evidence: &mut Evidence, plan: &Plan| {
        tables(evidence).links.retain(|link| link.index < VETH);
        tables(evidence).addresses.retain(|it| it.ifindex != BRIDGE);
        tables(evidence).routes.retain(|it| it.destination != plan.own_cidr());
        evidence.traffic = evidence.traffic.take().map(|_| Traffic::default());
    };
    assert_healthy(without_ports);
    assert_healthy(|evidence, plan| {
        // Canal routes to each pod, and `cni0` is a second network of a few of them.
        without_ports(evidence, plan);
        let tables = tables(evidence);
        tables.addresses.push(address(BRIDGE, "10.22.0.1", 16));
        for (index, name, master) in [(30, "cali1234", None), (31, "veth77", Some(BRIDGE))] {
            let mut veth = link(index, name, Some("veth"));
            (veth.master, veth.lower_elsewhere, veth.mtu) = (master, true, 1450);
            tables.links.push(veth);
        }
        let pod = IpNet::from(nth_address(plan.own_cidr(), 9));
        tables.routes.push(via(pod, None, 30));
        set_mtu(evidence, BRIDGE, 1450);
    });
}

#[test]
fn mtus_that_fit() {
    assert_healthy_by(judge_ipv4, |evidence, _| {
        for (index, mtu) in
            [(UPLINK, 9000), (OVERLAY, 8950), (BRIDGE, 8950), (VETH, 8950), (VETH + 1, 8950)]
        {
            set_mtu(evidence, index, mtu);
        }
    });
    // A VPN device: no Ethernet header.
    assert_healthy_by(judge_ipv4, |evidence, _| {
        for (index, mtu) in
            [(UPLINK, 1280), (OVERLAY, 1230), (BRIDGE, 1230), (VETH, 1230), (VETH + 1, 1230)]
        {
            set_mtu(evidence, index, mtu);
        }
    });
    // A device that no peer is reached by, and a container that is no pod.
    assert_healthy(|evidence, _| {
        let mut container = link(31, "veth9", Some("veth"));
        (container.lower_elsewhere, container.master) = (true, Some(30));
        let mut vpn = link(32, "tun0", Some("tun"));
        vpn.mtu = 1280;
        let docker = link(30, "docker0", Some("bridge"));
        tables(evidence).links.extend([docker, container, vpn]);
    });
}

/// flannel's device for IPv6, of a cluster without other nodes that have IPv6.
fn add_twin(evidence: &mut Evidence) {
    let tables = tables(evidence);
    let overlay = tables.link(OVERLAY).unwrap().clone();
    let mut vxlan = overlay.vxlan.clone().unwrap();
    vxlan.local = "fd00:77::11".parse().ok();
    let name = "flannel-v6.1".to_owned();
    let twin = Link { index: 42, name, mtu: 1430, vxlan: Some(vxlan), ..overlay };
    tables.links.push(twin);
    tables.addresses.push(address(42, "fd00:244:0:1::", 128));
    tables.addresses.push(address(UPLINK, "fd00:77::11", 64));
}

#[test]
fn a_dual_stack_node_whose_twin_is_lower() {
    assert_healthy(|evidence, _| add_twin(evidence));
    // A tunnel over IPv6 alone: the kernel has lowered its device, flannel's files have not.
    assert_healthy(|evidence, _| {
        let overlay = tables(evidence).links.iter_mut().find(|it| it.index == OVERLAY).unwrap();
        overlay.mtu = 1430;
        overlay.vxlan.as_mut().unwrap().local = "fd00:77::11".parse().ok();
        let router = "fe80::1".parse().ok();
        let tables = tables(evidence);
        tables.addresses.push(address(UPLINK, "fd00:77::11", 64));
        tables.routes.push(via("::/0".parse().unwrap(), router, UPLINK));
    });
}
