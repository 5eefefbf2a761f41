//! `dump_tables` and `ask` on a namespace set up as flannel sets up a node.

use std::{net::IpAddr, time::Duration};

use serde_json::Value;
use tracer::{
    evidence::{
        NeighbourState, NextHop, Origin, Route, RouteKind, RouteOutcome, Scope, Tables, Vxlan,
    },
    netlink::{ask, dump_tables},
    topology::Question,
};

use crate::namespace::{Namespace, poll_until};

const DEADLINE: Duration = Duration::from_secs(10);

/// ```text
///   10.244.1.0/24 cni0 ── pod (veth into another namespace)
///   flannel.1, VNI 7, port 8473 ── eth0 192.0.2.1/24 (veth, its other end `wire` up)
///   tun0: no Ethernet header
/// ```
const NODE: &str = "
    sysctl -qw net.ipv6.conf.default.addr_gen_mode=1
    ip link set lo up
    ip link add eth0 address 02:00:00:00:00:01 type veth peer name wire
    ip link set wire up
    ip link set eth0 up
    ip address add 192.0.2.1/24 dev eth0
    ip address add 2001:db8::1/64 dev eth0 nodad
    ip link add cni0 type bridge
    ip link set cni0 up
    ip address add 10.244.1.1/24 dev cni0
    ip link add vethpod type veth peer name pod
    ip link set vethpod master cni0 up
    ip link add flannel.1 address 02:00:00:00:01:01 type vxlan id 7 dstport 8473 \
        local 192.0.2.1 dev eth0 nolearning
    ip link set flannel.1 up
    ip address add 10.244.1.0/32 dev flannel.1
    ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
    ip neighbour add 10.244.2.0 lladdr 02:00:00:00:02:01 nud permanent dev flannel.1
    bridge fdb append 02:00:00:00:02:01 dev flannel.1 dst 192.0.2.2 self permanent
    bridge fdb append 02:00:00:00:03:01 dev flannel.1 dst 192.0.2.3
    bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.3
    bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.4
    ip route add default via 192.0.2.254
    ip tuntap add tun0 mode tun
    ip link set tun0 up
";

fn node() -> Namespace {
    let namespace = Namespace::new();
    namespace.shell(NODE);
    // The kernel enters an IPv6 address into the local table a little later.
    poll_until("the local route of 2001:db8::1", DEADLINE, || {
        !namespace.json("ip -j -6 route show 2001:db8::1 table local").is_empty()
    });
    namespace
}

fn dump(namespace: &Namespace) -> Tables {
    let tables = namespace.run(dump_tables).unwrap();
    assert_eq!(tables.skipped_messages, 0);
    tables
}

/// The tables, and the devices as iproute2 shows them. A bridge is told of its ports' carrier a while
/// after they have it: but for its timers it shows the same before and after the dump.
fn dump_at_rest(namespace: &Namespace) -> (Tables, Vec<Value>) {
    let show = || {
        let mut shown = namespace.json("ip -j -d link show");
        for device in &mut shown {
            if let Some(bridge) = device["linkinfo"]["info_data"].as_object_mut() {
                bridge.retain(|name, _| !name.ends_with("_timer"));
            }
        }
        shown
    };
    for _ in 0..100 {
        let (before, tables, after) = (show(), dump(namespace), show());
        if before == after {
            return (tables, after);
        }
    }
    panic!("the devices do not come to rest: {:?}", show());
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value[key].as_str()
}

fn index(tables: &Tables, name: &str) -> u32 {
    tables.link_named(name).unwrap().index
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn links_are_those_that_iproute2_shows() {
    let (namespace, pod) = (node(), Namespace::new());
    namespace.shell(&format!("ip link set pod netns {}", pod.id));
    let (tables, shown) = dump_at_rest(&namespace);
    assert_eq!(tables.links.len(), shown.len());
    for other in &shown {
        let link = tables.link_named(text(other, "ifname").unwrap()).unwrap();
        assert_eq!(Some(link.index.into()), other["ifindex"].as_u64());
        assert_eq!(Some(link.mtu.into()), other["mtu"].as_u64());
        assert_eq!(link.kind.as_deref(), text(&other["linkinfo"], "info_kind"));
        let flag = |name: &str| other["flags"].as_array().unwrap().contains(&name.into());
        assert_eq!(link.up, flag("UP"), "{other}");
        assert_eq!(link.lower_up, flag("LOWER_UP"), "{other}");
        let mac = text(other, "address").filter(|_| text(other, "link_type") == Some("ether"));
        assert_eq!(link.mac.map(|mac| mac.to_string()).as_deref(), mac);
        let master = link.master.map(|master| tables.link(master).unwrap().name.as_str());
        assert_eq!(master, text(other, "master"));
        assert_eq!(link.lower_elsewhere, !other["link_netnsid"].is_null());
    }
    assert_eq!(tables.link_named("eth0").unwrap().lower, Some(index(&tables, "wire")));
    assert!(tables.link_named("vethpod").unwrap().lower_elsewhere);
    assert_eq!(tables.link_named("tun0").unwrap().mac, None);
}

/// A setting, which a router's announcement changes too.
#[test]
fn an_mtu_of_ipv6_is_told_where_it_is_another() {
    let namespace = node();
    let mtu6 = |namespace: &Namespace| dump(namespace).link_named("eth0").unwrap().mtu6;
    assert_eq!(mtu6(&namespace), None);
    namespace.shell("sysctl -qw net.ipv6.conf.eth0.mtu=1400");
    assert_eq!(mtu6(&namespace), Some(1400));
    namespace.shell("ip link set eth0 mtu 1450");
    assert_eq!(mtu6(&namespace), None, "IPv6 takes over what the device gets");
}

#[test]
fn an_address_that_another_host_has_too_is_told_to_be_refused() {
    let namespace = node();
    let own = address("2001:db8::1");
    namespace.shell(
        "ip address add 2001:db8::9/64 dev wire nodad
         ip address add 2001:db8::9/64 dev eth0",
    );
    poll_until("the detection of the duplicate", DEADLINE, || {
        let tables = dump(&namespace);
        let eth0 = index(&tables, "eth0");
        tables.addresses_of(eth0).any(|it| it.address == address("2001:db8::9") && it.dad_failed)
    });
    let tables = dump(&namespace);
    assert!(tables.takes_packets_to(own));
    let eth0 = index(&tables, "eth0");
    let failed: Vec<IpAddr> =
        tables.addresses_of(eth0).filter(|it| it.dad_failed).map(|it| it.address).collect();
    assert_eq!(failed, [address("2001:db8::9")]);
}

#[test]
fn vxlan_settings_are_read_in_the_right_byte_order() {
    let namespace = node();
    namespace.shell(
        "ip link add v6 type vxlan id 9 dstport 4789 local 2001:db8::1
         ip link add meta type vxlan dstport 4790 external",
    );
    let tables = dump(&namespace);
    let vxlan = |name| tables.link_named(name).unwrap().vxlan.clone().unwrap();
    let flannel = Vxlan {
        vni: 7,
        port: 8473,
        local: Some(address("192.0.2.1")),
        link: Some(index(&tables, "eth0")),
        learning: false,
        external: false,
        gbp: false,
        df: Default::default(),
    };
    assert_eq!(vxlan("flannel.1"), flannel);
    let (v6, meta) = (vxlan("v6"), vxlan("meta"));
    assert_eq!((v6.vni, v6.port, v6.local), (9, 4789, Some(address("2001:db8::1"))));
    assert_eq!((v6.learning, v6.external, v6.link), (true, false, None));
    assert!(meta.external);
}

#[test]
fn addresses_are_those_that_iproute2_shows_and_young() {
    let namespace = node();
    let tables = dump(&namespace);
    let mut shown = 0;
    for link in namespace.json("ip -j address show") {
        for other in link["addr_info"].as_array().unwrap() {
            let found = tables
                .addresses_of(u32::try_from(link["ifindex"].as_u64().unwrap()).unwrap())
                .find(|found| found.address == address(text(other, "local").unwrap()))
                .unwrap();
            assert_eq!(Some(found.prefix_length.into()), other["prefixlen"].as_u64());
            let age = found.created_age.unwrap();
            assert!((0.0..60.0).contains(&age), "{age}");
            shown += 1;
        }
    }
    assert_eq!(tables.addresses.len(), shown);
    assert!(tables.is_local(address("10.244.1.0")));
}

#[test]
fn a_point_to_point_address_is_our_own_end() {
    let namespace = node();
    namespace.shell("ip address add 198.51.100.1 peer 198.51.100.2/32 dev tun0");
    let tables = dump(&namespace);
    assert!(tables.is_local(address("198.51.100.1")));
    assert!(!tables.is_local(address("198.51.100.2")));
}

#[test]
fn forwarding_is_read_as_the_kernel_applies_it() {
    let namespace = node();
    namespace.shell(
        "sysctl -qw net.ipv4.ip_forward=1
         sysctl -qw net/ipv4/conf/flannel.1/forwarding=0
         sysctl -qw net.ipv6.conf.all.forwarding=0
         sysctl -qw net.ipv6.conf.cni0.forwarding=1",
    );
    let tables = dump(&namespace);
    let of = |family, name| tables.forwards(family, Scope::Device(index(&tables, name)));
    assert_eq!(tables.forwards(4, Scope::All), Some(true));
    assert_eq!((of(4, "cni0"), of(4, "flannel.1")), (Some(true), Some(false)));
    assert_eq!(tables.forwards(6, Scope::All), Some(false));
    assert_eq!((of(6, "cni0"), of(6, "flannel.1")), (Some(true), Some(false)));
    let devices = tables.forwarding.iter().filter(|it| it.scope != Scope::All).count();
    assert_eq!(devices, 2 * tables.links.len(), "{:?}", tables.forwarding);
}

#[test]
fn rules_are_those_that_iproute2_shows() {
    let namespace = node();
    namespace.shell(
        "ip rule add from 10.244.1.0/24 to 10.244.0.0/16 lookup 1000 priority 50
         ip rule add iif cni0 prohibit priority 60
         ip -6 rule add from fd00::/64 lookup 100 priority 70",
    );
    let tables = dump(&namespace);
    let shown = namespace.json("ip -j rule").len() + namespace.json("ip -j -6 rule").len();
    assert_eq!(tables.rules.len(), shown);
    let rule = |priority| tables.rules.iter().find(|rule| rule.priority == priority).unwrap();
    assert_eq!((rule(50).family, rule(50).table, rule(50).looks_up), (4, 1000, true));
    assert_eq!(rule(50).source, Some("10.244.1.0/24".parse().unwrap()));
    assert_eq!(rule(50).destination, Some("10.244.0.0/16".parse().unwrap()));
    assert_eq!((rule(60).iif.as_deref(), rule(60).looks_up), (Some("cni0"), false));
    assert_eq!((rule(70).family, rule(70).table), (6, 100));
    assert_eq!(rule(70).source, Some("fd00::/64".parse().unwrap()));
    assert_eq!(rule(0).table, 255);
}

#[test]
fn routes_of_all_tables_and_kinds_are_read() {
    let namespace = node();
    namespace.shell(
        "ip route add blackhole 10.244.3.0/24 metric 7
         ip route add unreachable 10.244.4.0/24 table 1000
         ip route add prohibit 10.244.5.0/24
         ip route add 10.9.0.0/16 nexthop via 192.0.2.3 dev eth0 nexthop dev tun0
         ip route add 10.8.0.0/16 via inet6 2001:db8::9 dev eth0
         ip -6 route add blackhole fd00:3::/64
         ip -6 route add fd00:4::/64 via 2001:db8::2 dev eth0 metric 9",
    );
    let tables = dump(&namespace);
    assert_eq!(tables.routes.len(), namespace.json("ip -j route show table all").len());
    let route = |destination: &str| {
        let destination = destination.parse().unwrap();
        tables.routes.iter().find(|route| route.destination == destination).unwrap()
    };
    let hop = |gateway: Option<&str>, name: &str| NextHop {
        gateway: gateway.map(address),
        ifindex: Some(index(&tables, name)),
    };
    let flannel = Route {
        destination: "10.244.2.0/24".parse().unwrap(),
        table: 254,
        kind: RouteKind::Unicast,
        metric: 0,
        protocol: 3,
        next_hops: vec![hop(Some("10.244.2.0"), "flannel.1")],
    };
    assert_eq!(route("10.244.2.0/24"), &flannel);
    assert_eq!(route("0.0.0.0/0").next_hops, [hop(Some("192.0.2.254"), "eth0")]);
    let blackhole = route("10.244.3.0/24");
    assert_eq!((blackhole.kind, blackhole.metric), (RouteKind::Blackhole, 7));
    assert_eq!(blackhole.next_hops, []);
    assert_eq!(route("10.244.4.0/24").kind, RouteKind::Unreachable);
    assert_eq!(route("10.244.4.0/24").table, 1000);
    assert_eq!(route("10.244.5.0/24").kind, RouteKind::Prohibit);
    let several = [hop(Some("192.0.2.3"), "eth0"), hop(None, "tun0")];
    assert_eq!(route("10.9.0.0/16").next_hops, several);
    assert_eq!(route("10.8.0.0/16").next_hops, [hop(Some("2001:db8::9"), "eth0")]);
    // The network's own address beside it is a broadcast address too, on 5.10.
    let own = "10.244.1.0/32".parse().unwrap();
    let is_own = |route: &&Route| (route.destination, route.kind) == (own, RouteKind::Local);
    assert_eq!(tables.routes.iter().filter(is_own).count(), 1);
    assert_eq!(route("fd00:3::/64").kind, RouteKind::Blackhole);
    assert_eq!(route("fd00:3::/64").next_hops, []);
    assert_eq!(route("fd00:4::/64").next_hops, [hop(Some("2001:db8::2"), "eth0")]);
    assert_eq!(route("fd00:4::/64").metric, 9);
}

#[test]
fn neighbours_are_read_with_state_and_age() {
    let namespace = node();
    namespace.shell(
        "ip neighbour add 192.0.2.7 lladdr 02:00:00:00:00:07 nud reachable dev eth0
         ip -6 neighbour add 2001:db8::7 lladdr 02:00:00:00:00:08 nud stale dev eth0
         ip neighbour add 192.0.2.8 nud failed dev eth0",
    );
    let tables = dump(&namespace);
    let neighbour = |text: &str| {
        let wanted = address(text);
        tables.neighbours.iter().find(|found| found.address == wanted).unwrap()
    };
    let peer = neighbour("10.244.2.0");
    assert_eq!(peer.ifindex, index(&tables, "flannel.1"));
    assert_eq!(peer.state, NeighbourState::Permanent);
    assert_eq!(peer.mac.unwrap().to_string(), "02:00:00:00:02:01");
    assert!((0.0..60.0).contains(&peer.updated_age.unwrap()));
    assert!(peer.confirmed_age.is_some());
    assert_eq!(neighbour("192.0.2.7").state, NeighbourState::Reachable);
    assert_eq!(neighbour("2001:db8::7").state, NeighbourState::Stale);
    let failed = neighbour("192.0.2.8");
    assert_eq!((failed.state, failed.mac), (NeighbourState::Failed, None));
}

#[test]
fn only_vxlan_devices_own_entries_are_in_the_fdb() {
    let namespace = node();
    // A VXLAN device that is a port of a bridge: the bridge's entries for it are not its own.
    namespace.shell(
        "ip link add vxport type vxlan id 8 dstport 8474 local 2001:db8::1
         ip link set vxport master cni0 up
         bridge fdb add 02:00:00:00:09:01 dev vxport master static
         bridge fdb add 02:00:00:00:09:02 dev vxport dst 2001:db8::5 self",
    );
    let tables = dump(&namespace);
    let flannel: Vec<_> =
        tables.fdb.iter().filter(|entry| entry.ifindex == index(&tables, "flannel.1")).collect();
    let shown = namespace.json("bridge -j fdb show dev flannel.1");
    assert_eq!(flannel.len(), shown.len());
    for entry in &flannel {
        let mac = entry.mac.to_string();
        let destination = entry.destination.unwrap().to_string();
        let other = shown
            .iter()
            .find(|other| {
                text(other, "mac") == Some(&mac) && text(other, "dst") == Some(&destination)
            })
            .unwrap();
        assert_eq!(entry.permanent, text(other, "state") == Some("permanent"), "{other}");
        assert!((0.0..60.0).contains(&entry.updated_age.unwrap()));
    }
    let remotes = flannel.iter().filter(|entry| entry.mac.0 == [0; 6]).count();
    assert_eq!(remotes, 2, "every remote of the default entry");
    let port: Vec<_> =
        tables.fdb.iter().filter(|entry| entry.ifindex == index(&tables, "vxport")).collect();
    assert_eq!(port.len(), 1);
    assert_eq!(port[0].destination, Some(address("2001:db8::5")));
}

#[test]
fn five_thousand_neighbours_are_read_completely() {
    let namespace = node();
    namespace.shell(
        "for a in $(seq 0 19); do for b in $(seq 1 250); do
             echo neighbour add 10.244.$((100 + a)).$b lladdr 02:00:00:00:02:01 nud permanent \
                 dev flannel.1
         done; done | ip -batch -",
    );
    let tables = dump(&namespace);
    let flannel = index(&tables, "flannel.1");
    let count = tables.neighbours.iter().filter(|found| found.ifindex == flannel).count();
    assert!(count >= 5_001, "{count}");
}

fn answers(namespace: &Namespace, questions: &[(&str, Option<(u32, &str)>)]) -> Vec<RouteOutcome> {
    let questions: Vec<_> = questions
        .iter()
        .map(|(destination, pod)| Question {
            destination: address(destination),
            origin: if pod.is_some() { Origin::Pods } else { Origin::Node },
            iif: pod.map(|(iif, _)| iif),
            source: pod.map(|(_, source)| address(source)),
        })
        .collect();
    let asked = questions.clone();
    let answers = namespace.run(move || ask(&asked)).unwrap();
    for (answer, question) in answers.iter().zip(&questions) {
        assert_eq!((answer.destination, answer.origin), (question.destination, question.origin));
    }
    answers.into_iter().map(|answer| answer.outcome).collect()
}

#[test]
fn the_kernel_names_the_matched_route() {
    let namespace = node();
    namespace.shell(
        "sysctl -qw net.ipv4.conf.cni0.forwarding=1
         ip route add 10.244.6.0/24 via 192.0.2.6 dev eth0 table 1000
         ip rule add iif cni0 to 10.244.6.0/24 lookup 1000 priority 50
         ip -6 route add fd00:4::/64 via 2001:db8::2 dev eth0",
    );
    let tables = dump(&namespace);
    let pod = Some((index(&tables, "cni0"), "10.244.1.5"));
    let outcomes = answers(
        &namespace,
        &[
            ("10.244.2.1", None),
            ("10.244.2.1", pod),
            ("10.244.6.1", pod),
            ("10.244.6.1", None),
            ("fd00:4::1", None),
        ],
    );
    let found: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            RouteOutcome::Route(route) => {
                let hop = &route.next_hops[0];
                let device = tables.link(hop.ifindex.unwrap()).unwrap().name.as_str();
                format!("{} {} {} {device}", route.destination, route.table, hop.gateway.unwrap())
            }
            RouteOutcome::Refused(errno) => format!("refused {errno}"),
        })
        .collect();
    let expected = [
        "10.244.2.0/24 254 10.244.2.0 flannel.1",
        "10.244.2.0/24 254 10.244.2.0 flannel.1",
        "10.244.6.0/24 1000 192.0.2.6 eth0",
        "0.0.0.0/0 254 192.0.2.254 eth0",
        "fd00:4::/64 254 2001:db8::2 eth0",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_refused_packet_is_an_answer_with_its_errno() {
    let namespace = node();
    namespace.shell(
        "sysctl -qw net.ipv4.conf.cni0.forwarding=1
         ip route del default
         ip route add blackhole 10.244.3.0/24
         ip route add unreachable 10.244.4.0/24
         ip route add prohibit 10.244.5.0/24
         ip -6 route add blackhole fd00:3::/64
         ip -6 route add prohibit fd00:5::/64",
    );
    let pod = Some((index(&dump(&namespace), "cni0"), "10.244.1.5"));
    let outcomes = answers(
        &namespace,
        &[
            ("10.244.3.1", None),
            ("10.244.3.1", pod),
            ("10.244.4.1", None),
            ("10.244.5.1", pod),
            ("10.99.0.1", None),
            ("10.99.0.1", pod),
            ("fd00:3::1", None),
            ("fd00:5::1", None),
            ("fd00:99::1", None),
        ],
    );
    let errnos = [
        libc::EINVAL,
        libc::EINVAL,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::ENETUNREACH,
        libc::ENETUNREACH,
        libc::EINVAL,
        libc::EACCES,
        libc::ENETUNREACH,
    ];
    assert_eq!(outcomes, errnos.map(RouteOutcome::Refused));
}

#[test]
fn an_unused_namespace_is_read_without_complaint() {
    let tables = dump(&Namespace::new());
    assert_eq!(tables.links.len(), 1);
    assert_eq!(tables.fdb, []);
}
