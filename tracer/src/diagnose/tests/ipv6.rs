//! What only IPv6 has: addresses that go with the link, sockets of its own, a least MTU.

use std::net::IpAddr;

use super::{
    super::{
        Diagnosis, Severity, diagnose, exit_status,
        testing::{
            BRIDGE, OVERLAY, Pass, Plan, UPLINK, VETH, address, dual, link, neighbour, observe,
            tables, told, twin, via,
        },
    },
    injections::{down_bridge, down_overlay, flap_overlay},
};
use crate::evidence::{Address, Evidence, MacAddress, Scope, UdpSocket, Vxlan};

/// A node of IPv6 alone after `change`.
fn of_ipv6(plan: &Plan, change: impl Fn(&mut Evidence)) -> (Diagnosis, Evidence) {
    let mut evidence = twin(&plan.evidence()).unwrap();
    change(&mut evidence);
    observe(&mut evidence);
    (diagnose(&evidence), evidence)
}

/// A node of both IP versions whose IPv6 is as after `change`.
fn of_both(plan: &Plan, change: impl Fn(&mut Evidence)) -> Diagnosis {
    let healthy = plan.evidence();
    let (_, faulty) = of_ipv6(plan, change);
    diagnose(&dual(&healthy, &faulty, &faulty))
}

fn is_global(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(it) if !it.is_unicast_link_local())
}

#[test]
fn the_socket_of_the_device_for_ipv4_keeps_that_for_ipv6_from_nothing() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let diagnosis = of_both(&plan, |evidence| {
        down_overlay(evidence, &plan);
        let address = "0.0.0.0".parse().unwrap();
        tables(evidence).udp_sockets.push(UdpSocket { address, port: 8472, v6_only: false });
    });
    assert_eq!(told(&diagnosis), ["flannel-link-down flannel-v6.1"]);
    let title =
        "flannel-v6.1 is administratively down: this node has no tunnel for IPv6 to its peers";
    assert_eq!(diagnosis.findings[0].title, title);
}

#[test]
fn a_device_that_kept_or_got_back_its_address_has_flapped_all_the_same() {
    let plan = Plan::of(3, Pass::Tables);
    let (healthy, mut faulty) = (plan.evidence(), plan.evidence());
    flap_overlay(&mut faulty, &plan);
    let faulty = twin(&faulty).unwrap();
    let diagnosis = diagnose(&dual(&healthy, &faulty, &faulty));
    assert_eq!(told(&diagnosis), ["flannel-link-flapped-state-lost flannel-v6.1"]);
}

#[test]
fn a_device_without_any_ipv6_address_is_not_judged() {
    let plan = Plan::of(3, Pass::PeersFile);
    let (diagnosis, evidence) = of_ipv6(&plan, |evidence| {
        let tables = tables(evidence);
        tables.addresses.retain(|it| it.ifindex != OVERLAY);
        tables.neighbours.retain(|it| it.ifindex != OVERLAY);
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(OVERLAY)));
    });
    assert_eq!(told(&diagnosis), [""; 0]);
    assert_eq!(exit_status(&diagnosis, &evidence, Severity::Warning), 2);
    let is_told = |line: &String| line.contains("not even a link-local one: its MTU is 1430");
    assert!(diagnosis.unseen.iter().any(is_told), "{:?}", diagnosis.unseen);
}

#[test]
fn a_bridge_that_lost_its_ipv6_address_is_wrong_where_pods_have_spoken() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let lose = |evidence: &mut Evidence| {
        let tables = tables(evidence);
        tables.addresses.retain(|it| it.ifindex != BRIDGE || !is_global(it.address));
    };
    let diagnosis = of_both(&plan, lose);
    assert_eq!(told(&diagnosis), ["cni0-wrong-address cni0"]);
    // Nothing shows that these pods have IPv6 addresses.
    let quiet = Plan { seconds: 0.0, ..plan.clone() };
    assert_eq!(told(&of_both(&quiet, lose)), [""; 0]);
}

#[test]
fn an_uplink_set_down_takes_its_ipv6_addresses_along() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let (diagnosis, _) = of_ipv6(&plan, |evidence| {
        let tables = tables(evidence);
        tables.links.iter_mut().filter(|it| it.index == UPLINK).for_each(|it| {
            (it.up, it.lower_up) = (false, false);
        });
        tables.addresses.retain(|it| it.ifindex != UPLINK);
        tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(UPLINK)));
        tables.links.push(link(30, "eth1", None));
        tables.addresses.push(address(30, "fd00:9::2", 64));
        tables.routes.push(via("::/0".parse().unwrap(), "fd00:9::1".parse().ok(), 30));
    });
    assert_eq!(told(&diagnosis), ["uplink-down eth0"]);
}

#[test]
fn a_veth_of_ipv6_alone_is_no_pod_without_its_bridge() {
    let plan = Plan::of(2, Pass::SubnetEnv);
    let healthy = plan.evidence();
    let mut evidence = dual(&healthy, &twin(&healthy).unwrap(), &healthy);
    let tables = tables(&mut evidence);
    tables.links.retain(|it| it.index < VETH && it.index != BRIDGE || it.index > 100);
    tables.addresses.retain(|it| it.ifindex != BRIDGE);
    tables.routes.retain(|it| it.next_hops.iter().all(|hop| hop.ifindex != Some(BRIDGE)));
    let mut vpn = link(31, "vpn0", Some("veth"));
    vpn.lower_elsewhere = true;
    tables.links.push(vpn);
    tables.addresses.push(address(31, "fd00:99::1", 64));
    tables.neighbours.push(neighbour(31, "fd00:99::2".parse().unwrap(), MacAddress([2; 6])));
    evidence.traffic = None;
    evidence.tables_only = true;
    observe(&mut evidence);
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}

#[test]
fn a_bridge_that_is_down_has_lost_its_ipv6_address_too() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let down = |evidence: &mut Evidence| {
        down_bridge(evidence, &plan);
        tables(evidence).addresses.retain(|it| it.ifindex != BRIDGE || !is_global(it.address));
    };
    assert_eq!(told(&of_ipv6(&plan, down).0), ["cni0-down cni0"]);
    let diagnosis = of_both(&plan, down);
    assert_eq!(told(&diagnosis), ["cni0-down cni0"]);
    let repair = ["ip link set cni0 up", "ip -6 addr add fd00:a:f4:1::1/64 dev cni0 nodad"];
    assert_eq!(diagnosis.findings[0].remedy, repair);
}

#[test]
fn a_node_that_forwards_ipv6_by_single_devices_is_told_by_its_packets() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let close = |evidence: &mut Evidence| {
        let all = tables(evidence).forwarding.iter_mut().filter(|it| it.scope == Scope::All);
        all.for_each(|it| it.enabled = false);
    };
    assert_eq!(told(&of_ipv6(&plan, close).0), [""; 0]);
    let quiet = Plan { seconds: 0.0, ..plan };
    assert_eq!(told(&of_ipv6(&quiet, close).0), ["ip-forward-off cni0"]);
}

#[test]
fn a_device_of_group_policies_takes_the_port_in_its_own_ip_version() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let take = |local: &str| {
        of_both(&plan, |evidence| {
            down_overlay(evidence, &plan);
            let mut other = link(30, "cilium_vxlan", Some("vxlan"));
            let own = tables(evidence).link(OVERLAY).unwrap().vxlan.clone().unwrap();
            other.vxlan = Some(Vxlan { gbp: true, local: local.parse().ok(), ..own });
            tables(evidence).links.push(other);
        })
    };
    assert_eq!(told(&take("fd00:77::9")), ["vxlan-port-taken-by-other-cni flannel-v6.1"]);
    assert_eq!(told(&take("192.0.2.9")), ["flannel-link-down flannel-v6.1"]);
}

/// The node's own IPv6 address, which another host has too.
fn refuse_node_address(evidence: &mut Evidence) {
    let own = tables(evidence).addresses.iter_mut();
    own.filter(|it| it.ifindex == UPLINK && is_global(it.address)).for_each(|it| {
        it.dad_failed = true;
    });
}

#[test]
fn a_source_address_that_another_host_has_too_is_lost() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    for (diagnosis, address) in [
        (of_ipv6(&plan, refuse_node_address).0, "fd00:c0:a8:4d::b"),
        (of_both(&plan, refuse_node_address), "fd00:c0:a8:4d::b"),
    ] {
        assert_eq!(told(&diagnosis), ["vtep-source-address-lost flannel-v6.1"]);
        let finding = &diagnosis.findings[0];
        let title = format!(
            "flannel-v6.1 sends from {address}, which the kernel does not use: another host has it too"
        );
        assert_eq!(finding.title, title);
        assert_eq!(finding.remedy[1], format!("ip -6 addr del {address}/64 dev eth0"));
    }
}

#[test]
fn another_address_that_failed_is_none_of_the_tunnels() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let (diagnosis, _) = of_ipv6(&plan, |evidence| {
        let other = address(UPLINK, "fd00:77::99", 64);
        tables(evidence).addresses.push(Address { dad_failed: true, ..other });
    });
    assert_eq!(told(&diagnosis), [""; 0]);
}

/// What a router's announcement or a setting makes of the uplink's MTU for IPv6.
fn announce_mtu(evidence: &mut Evidence, mtu6: u32) {
    let uplinks = tables(evidence).links.iter_mut().filter(|it| it.index == UPLINK);
    uplinks.for_each(|it| it.mtu6 = Some(mtu6));
}

#[test]
fn a_lower_mtu_of_ipv6_alone_makes_fragments_of_its_tunnel_alone() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let diagnosis = of_both(&plan, |evidence| announce_mtu(evidence, 1400));
    assert_eq!(told(&diagnosis), ["tunnel-fragments-outer flannel-v6.1"]);
    let finding = &diagnosis.findings[0];
    assert_eq!(
        finding.title,
        "flannel-v6.1 MTU 1430 + 70 > eth0 MTU 1400: full packets are refused as too big"
    );
    let why = "has MTU 1400 for IPv6 (`sysctl net/ipv6/conf/eth0/mtu`; 1500 else)";
    assert!(finding.evidence[0].contains(why), "{:?}", finding.evidence);
    let least = of_both(&plan, |evidence| announce_mtu(evidence, 1280));
    let repair = "sysctl -w net/ipv6/conf/eth0/mtu=1350      (or more)";
    assert_eq!(least.findings[0].remedy[0], repair);
    for mtu6 in [1500, 9000] {
        assert_eq!(told(&of_both(&plan, |evidence| announce_mtu(evidence, mtu6))), [""; 0]);
    }
    // A tunnel over IPv4 knows nothing of it.
    let mut evidence = plan.evidence();
    announce_mtu(&mut evidence, 1280);
    observe(&mut evidence);
    assert_eq!(told(&diagnose(&evidence)), [""; 0]);
}
