//! Roles, CIDRs, peers and questions on small tables.

use std::net::IpAddr;

use std::path::PathBuf;

use super::{LifeSign, RoleProblem, Topologies, detect_roles, nth_address};
use crate::{
    diagnose::testing::{
        BRIDGE, OVERLAY, Pass, Plan, UPLINK, VETH, address, fdb, judge, link, mac, neighbour,
        peer_traffic, tables, told, topology, via,
    },
    evidence::{Evidence, Intent, Origin, Stranger, SubnetEnv, Tables, Vxlan},
};

fn roles_of(evidence: &Evidence) -> Result<crate::evidence::Roles, RoleProblem> {
    detect_roles(evidence.tables.as_ref().unwrap(), &evidence.intent)
}

fn vxlan() -> Option<Vxlan> {
    Some(Vxlan {
        vni: 2,
        port: 8472,
        local: None,
        link: None,
        learning: false,
        external: false,
        gbp: false,
        df: Default::default(),
    })
}

/// A node without flannel.
fn plain() -> Tables {
    Tables {
        links: vec![link(UPLINK, "eth0", None)],
        addresses: vec![address(UPLINK, "192.168.1.10", 24)],
        routes: vec![via("0.0.0.0/0".parse().unwrap(), "192.168.1.1".parse().ok(), UPLINK)],
        ..Tables::default()
    }
}

fn subnet_env(mtu: u32) -> Intent {
    Intent {
        subnet_env: Some(SubnetEnv {
            path: PathBuf::from("/run/flannel/subnet.env"),
            networks: vec!["10.244.0.0/16".parse().unwrap()],
            subnets: vec!["10.244.1.1/24".parse().unwrap()],
            mtu: Some(mtu),
            ip_masq: None,
        }),
        ..Intent::default()
    }
}

#[test]
fn roles_are_found_by_kind_and_address_whatever_the_names() {
    for pass in [Pass::Tables, Pass::SubnetEnv, Pass::PeersFile] {
        let plan = Plan { overlay: "vx9".into(), bridge: "br9".into(), ..Plan::of(3, pass) };
        let roles = roles_of(&plan.evidence()).unwrap();
        assert_eq!(
            (roles.overlay, roles.bridge, roles.uplinks),
            (Some(OVERLAY), Some(BRIDGE), vec![UPLINK])
        );
    }
}

#[test]
fn peers_behind_another_device_add_an_uplink() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let hit = plan.node_ip(plan.hit());
    tables(&mut evidence).links.push(link(30, "tailscale0", Some("tun")));
    tables(&mut evidence).routes.push(via(hit.into(), None, 30));
    crate::diagnose::testing::observe(&mut evidence);
    assert_eq!(evidence.roles.uplinks, [UPLINK, 30]);
}

#[test]
fn several_candidates_are_listed() {
    let plan = Plan::of(3, Pass::Tables);
    let mut evidence = plan.evidence();
    let mut second = link(30, "flannel.2", Some("vxlan"));
    second.vxlan = vxlan();
    tables(&mut evidence).links.push(second);
    let problem = roles_of(&evidence).unwrap_err();
    assert_eq!(
        problem,
        RoleProblem::SeveralOverlays(vec!["flannel.1".to_owned(), "flannel.2".to_owned()])
    );
    assert_eq!(problem.exit_status(), 2);
    evidence.intent.overlay_option = Some("flannel.2".to_owned());
    assert_eq!(roles_of(&evidence).unwrap().overlay, Some(30));
}

#[test]
fn subnet_env_chooses_among_several() {
    let plan = Plan::of(3, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let mut second = link(30, "flannel.2", Some("vxlan"));
    second.vxlan = vxlan();
    tables(&mut evidence).links.push(second);
    assert_eq!(roles_of(&evidence).unwrap().overlay, Some(OVERLAY));
}

#[test]
fn options_that_name_no_such_interface_are_wrong_usage() {
    let plan = Plan::of(2, Pass::Tables);
    let healthy = plan.evidence();
    let with = |change: &dyn Fn(&mut Intent)| {
        let mut evidence = healthy.clone();
        change(&mut evidence.intent);
        roles_of(&evidence)
    };
    let unknown = with(&|intent| intent.uplink_options = vec!["eth7".to_owned()]).unwrap_err();
    assert_eq!(unknown.exit_status(), 3);
    assert_eq!(
        unknown.to_string(),
        "--uplink eth7: no such interface; this node has lo, eth0, flannel.1, cni0, veth0, veth1"
    );
    let unknown = with(&|intent| intent.bridge_option = Some("br7".to_owned())).unwrap_err();
    assert_eq!(unknown.exit_status(), 3);
    let other = with(&|intent| intent.overlay_option = Some("eth0".to_owned())).unwrap_err();
    assert_eq!(
        other,
        RoleProblem::NotVxlan { name: "eth0".into(), kind: "a physical device".into() }
    );
    let other = with(&|intent| intent.bridge_option = Some("flannel.1".to_owned())).unwrap_err();
    assert_eq!(other, RoleProblem::NotBridge { name: "flannel.1".into(), kind: "vxlan".into() });
}

#[test]
fn a_named_overlay_that_does_not_exist_is_a_slip_beside_flannels_and_else_missing() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    evidence.intent.overlay_option = Some("flannel.7".to_owned());
    let unknown = roles_of(&evidence).unwrap_err();
    assert_eq!(unknown.exit_status(), 3);
    assert!(
        unknown.to_string().starts_with("--overlay flannel.7: no such interface; this node has")
    );
    tables(&mut evidence).links.iter_mut().find(|it| it.name == "flannel.1").unwrap().name =
        "vxlan0".to_owned();
    let diagnosis = judge(&mut evidence);
    assert_eq!(told(&diagnosis), ["flannel-link-missing flannel.7"]);
}

#[test]
fn a_node_without_any_sign_of_flannel_is_none() {
    assert_eq!(detect_roles(&plain(), &Intent::default()), Err(RoleProblem::NoFlannel));
    let mut calico = link(30, "vxlan.calico", Some("vxlan"));
    calico.vxlan = vxlan();
    let mut tables = plain();
    tables.links.push(calico);
    assert_eq!(detect_roles(&tables, &Intent::default()), Err(RoleProblem::NoFlannel));
}

#[test]
fn a_sign_of_flannel_without_a_device_is_a_node_whose_device_is_missing() {
    let chains =
        Intent { flannel_netfilter: vec!["table ip flannel-ipv4".to_owned()], ..Intent::default() };
    for intent in [chains, subnet_env(1450)] {
        let roles = detect_roles(&plain(), &intent).unwrap();
        assert_eq!((roles.overlay, roles.uplinks), (None, vec![UPLINK]));
    }
}

#[test]
fn other_backends_are_recognised() {
    assert_eq!(
        detect_roles(&plain(), &subnet_env(1500)),
        Err(RoleProblem::OtherBackend("host-gw"))
    );
    let mut wireguard = plain();
    wireguard.links.push(link(30, "flannel-wg", Some("wireguard")));
    assert_eq!(
        detect_roles(&wireguard, &subnet_env(1420)),
        Err(RoleProblem::OtherBackend("wireguard"))
    );
    let mut ipip = plain();
    ipip.links.push(link(30, "flannel.ipip", Some("ipip")));
    assert_eq!(detect_roles(&ipip, &subnet_env(1480)), Err(RoleProblem::OtherBackend("ipip")));
}

#[test]
fn host_gateway_routes_are_recognised_without_subnet_env() {
    let mut tables = plain();
    tables.links.push(link(BRIDGE, "cni0", Some("bridge")));
    tables.addresses.push(address(BRIDGE, "10.244.1.1", 24));
    let peer = "10.244.2.0/24".parse().unwrap();
    tables.routes.push(via(peer, "192.168.1.12".parse().ok(), UPLINK));
    let intent =
        Intent { flannel_netfilter: vec!["chain FLANNEL-FWD".to_owned()], ..Intent::default() };
    assert_eq!(detect_roles(&tables, &intent), Err(RoleProblem::OtherBackend("host-gw")));
    assert!(detect_roles(&tables, &subnet_env(1450)).is_ok(), "DirectRouting without its device");
}

#[test]
fn own_cidr_and_cluster_are_inferred_without_intent() {
    for (length, cluster) in [(24, "10.244.0.0/16"), (26, "10.244.0.0/18")] {
        let plan = Plan { length, ..Plan::of(3, Pass::Tables) };
        let mut evidence = plan.evidence();
        for _ in 0..2 {
            let topology = topology(&evidence);
            assert_eq!(topology.own_cidrs, [plan.own_cidr()]);
            assert_eq!(topology.cluster_cidrs, [cluster.parse().unwrap()]);
            // Once more without a bridge: the routes tell the length.
            tables(&mut evidence).links.retain(|link| link.index != BRIDGE && link.index < VETH);
            tables(&mut evidence).addresses.retain(|it| it.ifindex != BRIDGE);
            evidence.roles.bridge = None;
        }
    }
}

#[test]
fn the_own_cidr_is_never_a_peer() {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    evidence.intent.peers.push(plan.peer_intent(plan.own));
    let topology = topology(&evidence);
    let cidrs: Vec<_> = topology.peers.iter().map(|peer| peer.cidr).collect();
    assert_eq!(cidrs, [plan.cidr(0), plan.cidr(2)]);
}

#[test]
fn neighbours_that_are_no_gateways_of_pod_networks_are_no_peers() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    for address in ["192.168.1.100", "fe80::77", "ff02::2", "10.244.9.7"] {
        let entry = neighbour(OVERLAY, address.parse().unwrap(), mac(99));
        tables(&mut evidence).neighbours.push(entry);
    }
    assert_eq!(topology(&evidence).peers.len(), 1);
}

#[test]
fn a_peer_holds_what_the_tables_say_of_it() {
    let plan = Plan::of(2, Pass::Tables);
    let evidence = plan.evidence();
    let topology = topology(&evidence);
    let peer = topology.peer(plan.hit_cidr()).unwrap();
    assert_eq!(peer.node_ip, Some(plan.node_ip(plan.hit())));
    assert_eq!(peer.vtep_mac, Some(mac(plan.hit())));
    assert_eq!(peer.gateway, plan.hit_cidr().network());
    assert_eq!(peer.life, [LifeSign::Neighbour, LifeSign::Fdb, LifeSign::Vxlan]);
    assert_eq!(peer.label(), "10.244.0.0/24 (192.168.77.10)");
}

/// A node may hand on what a peer sends: by its entries for this node, or for answers by this
/// node's entries for it. What arrives has the MAC of the node between.
#[test]
fn the_mac_of_a_node_that_hands_packets_on_is_not_taken_for_that_of_their_sender() {
    for pass in [Pass::Tables, Pass::SubnetEnv] {
        let plan = Plan::of(3, pass);
        let mut evidence = plan.evidence();
        let between = plan.peers().find(|node| *node != plan.hit()).unwrap();
        let gateway = plan.hit_cidr().network();
        tables(&mut evidence).neighbours.retain(|entry| entry.address != gateway);
        let named =
            |evidence: &Evidence| topology(evidence).peer(plan.hit_cidr()).unwrap().vtep_mac;
        assert_eq!(named(&evidence), Some(mac(plan.hit())), "its own packets tell it");
        peer_traffic(&mut evidence, plan.hit_cidr()).unwrap().inner_source_mac = Some(mac(between));
        assert_eq!(named(&evidence), None);
        let hit = format!("neigh-entry-missing {}", plan.hit_cidr());
        let diagnosis = judge(&mut evidence);
        assert_eq!(told(&diagnosis), [hit]);
        assert_eq!(diagnosis.findings[0].subject.vtep_mac, None);
    }
}

#[test]
fn a_stranger_becomes_a_peer_only_inside_the_cluster() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    for inner in ["10.244.9.5", "172.16.0.5"] {
        evidence.traffic.as_mut().unwrap().strangers.push(Stranger {
            inner_source: inner.parse().unwrap(),
            outer_source: plan.node_ip(9),
            packets: 5,
        });
    }
    let topology = topology(&evidence);
    let cidrs: Vec<_> = topology.peers.iter().map(|peer| peer.cidr).collect();
    assert_eq!(cidrs, [plan.cidr(0), plan.cidr(9)]);
    assert_eq!(topology.peers[1].node_ip, Some(plan.node_ip(9)));
    assert_eq!(topology.peers[1].life, [LifeSign::Vxlan]);
}

#[test]
fn the_kernel_is_asked_for_pods_nodes_and_outside() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    tables(&mut evidence).fdb.push(fdb(mac(50), plan.node_ip(50)));
    let asked = |evidence: &Evidence| {
        let roles = roles_of(evidence).unwrap();
        Topologies::from_parts(evidence.tables.as_ref(), &evidence.intent, &roles, None).questions()
    };
    let questions = asked(&evidence);
    let pod = nth_address(plan.hit_cidr(), 2);
    let [one, other] = ["192.0.2.1", "203.0.113.1"].map(|it| it.parse::<IpAddr>().unwrap());
    let seen: Vec<_> = questions.iter().map(|it| (it.destination, it.origin, it.iif)).collect();
    assert_eq!(
        seen,
        [
            (pod, Origin::Pods, Some(BRIDGE)),
            (pod, Origin::Node, None),
            (plan.node_ip(plan.hit()), Origin::Node, None),
            (plan.node_ip(50), Origin::Node, None),
            (one, Origin::Pods, Some(BRIDGE)),
            (one, Origin::Node, None),
            (other, Origin::Pods, Some(BRIDGE)),
            (other, Origin::Node, None),
        ]
    );
    assert_eq!(questions[0].source, Some(nth_address(plan.own_cidr(), 2)));
    tables(&mut evidence).links.iter_mut().for_each(|link| link.up = link.index != BRIDGE);
    assert!(asked(&evidence).iter().all(|question| question.origin == Origin::Node));
}

#[test]
fn an_address_is_never_taken_beyond_its_network() {
    assert_eq!(nth_address("10.0.0.7/32".parse().unwrap(), 2).to_string(), "10.0.0.7");
    assert_eq!(nth_address("10.0.0.0/24".parse().unwrap(), 2).to_string(), "10.0.0.2");
    assert_eq!(nth_address("fd00::/64".parse().unwrap(), 2).to_string(), "fd00::2");
}

#[test]
fn the_twin_of_a_dual_stack_node_does_not_stand_in_for_the_missing_device() {
    let plan = Plan::of(2, Pass::SubnetEnv);
    let mut evidence = plan.evidence();
    let links = &mut tables(&mut evidence).links;
    let device = links.iter_mut().find(|link| link.name == "flannel.1").unwrap();
    device.name = "flannel-v6.1".into();
    device.vxlan.as_mut().unwrap().local = "fd00:77::11".parse().ok();
    let twin = tables(&mut evidence);
    twin.addresses.retain(|address| address.ifindex != OVERLAY);
    assert_eq!(roles_of(&evidence).unwrap().overlay, None);
}
