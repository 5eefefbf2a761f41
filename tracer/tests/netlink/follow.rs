//! The tables as they are followed, compared with a fresh dump after each step of a random walk.

use std::time::{Duration, Instant};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tracer::{
    evidence::{NeighbourState, Tables},
    netlink::{Followed, Follower, dump_routes, dump_tables},
};

use crate::namespace::Namespace;

/// How long the followed tables may differ from the dumped ones after a step.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long the kernel is listened to in one go.
const SILENCE: Duration = Duration::from_millis(20);

const NODE: &str = "
    sysctl -qw net.ipv6.conf.default.addr_gen_mode=1
    ip link set lo up
    ip link add eth0 type veth peer name wire
    ip link set wire up
    ip link set eth0 up
    ip address add 192.0.2.1/24 dev eth0
    ip route add default via 192.0.2.254
";

/// A step of the walk: each may be refused, as when what it deletes is not there.
fn step() -> impl Strategy<Value = String> {
    let peer = 2..5_u8;
    prop_oneof![
        Just("ip link add flannel.1 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 \
              nolearning".to_owned()),
        Just("ip link del flannel.1".to_owned()),
        Just("ip link set flannel.1 up".to_owned()),
        Just("ip link set flannel.1 down".to_owned()),
        Just("ip address add 10.244.1.0/32 dev flannel.1".to_owned()),
        Just("ip address del 10.244.1.0/32 dev flannel.1".to_owned()),
        Just("ip link set eth0 down".to_owned()),
        Just("ip link set eth0 up".to_owned()),
        Just("ip link add cni0 type bridge".to_owned()),
        Just("ip link set wire master cni0".to_owned()),
        Just("ip link set wire nomaster".to_owned()),
        Just("ip link set cni0 name cbr0".to_owned()),
        Just("ip address add 2001:db8::1/64 dev eth0 nodad".to_owned()),
        Just("ip -6 route add 2001:db8:2::/64 via 2001:db8::2".to_owned()),
        Just("ip -6 route append 2001:db8:2::/64 via 2001:db8::3".to_owned()),
        Just("ip -6 route del 2001:db8:2::/64".to_owned()),
        Just("ip rule add pref 100 from 10.244.1.0/24 lookup 100".to_owned()),
        Just("ip rule del pref 100".to_owned()),
        Just("ip route add 198.51.100.0/24 nexthop via 192.0.2.7 nexthop via 192.0.2.8".to_owned()),
        Just("ip route del 198.51.100.0/24".to_owned()),
        (0..2_u8, peer.clone()).prop_map(|(metric, n)| format!(
            "ip route append 10.244.{n}.0/24 via 10.244.{n}.0 dev flannel.1 onlink metric {metric}"
        )),
        peer.clone().prop_map(|n| format!("ip route replace 10.244.{n}.0/24 via 192.0.2.{n}")),
        peer.clone().prop_map(|n| format!("ip route replace blackhole 10.244.{n}.0/24")),
        peer.clone().prop_map(|n| format!("ip route del 10.244.{n}.0/24")),
        (peer.clone(), 1..3_u8).prop_map(|(n, mac)| format!(
            "ip neighbour replace 10.244.{n}.0 lladdr 02:00:00:00:0{mac}:0{n} nud permanent dev \
             flannel.1"
        )),
        peer.clone().prop_map(|n| format!("ip neighbour del 10.244.{n}.0 dev flannel.1")),
        (peer.clone(), 1..3_u8).prop_map(|(n, remote)| format!(
            "bridge fdb replace 02:00:00:00:01:0{n} dev flannel.1 dst 192.0.2.{remote} self permanent"
        )),
        peer.clone().prop_map(|n| format!(
            "bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.{n}"
        )),
        peer.prop_map(|n| format!("bridge fdb del 02:00:00:00:01:0{n} dev flannel.1 self")),
    ]
}

#[test]
fn followed_tables_are_those_that_a_fresh_dump_shows() {
    let mut runner = TestRunner::new(Config { cases: 6, max_shrink_iters: 0, ..Config::default() });
    let walks = prop::collection::vec(step(), 60);
    runner
        .run(&walks, |walk| {
            let namespace = Namespace::new();
            namespace.shell(NODE);
            namespace.run(move || follow(&walk)).map_err(TestCaseError::fail)
        })
        .unwrap();
}

/// Takes each step and compares.
fn follow(walk: &[String]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut follower = Follower::open().unwrap();
        let mut followed = Followed::new(dump_tables().unwrap());
        for step in walk {
            // A refusal is a step too.
            let _ = std::process::Command::new("sh").args(["-c", step]).output().unwrap();
            let end = Instant::now() + CATCH_UP;
            loop {
                while let Ok(heard) = tokio::time::timeout(SILENCE, follower.hear()).await {
                    let heard = heard.unwrap();
                    assert!(!heard.overrun, "{step}");
                    for change in heard.changes {
                        followed.apply(change, 0.0);
                    }
                }
                if followed.routes_are_stale() {
                    let (rules, routes) = dump_routes().unwrap();
                    followed.set_routes(rules, routes);
                }
                let (ours, theirs) = (plain(followed.tables(0.0)), plain(dump_tables().unwrap()));
                if ours == theirs {
                    break;
                }
                if Instant::now() > end {
                    return Err(format!("after `{step}`:\n{ours:#?}\nbut dumped:\n{theirs:#?}"));
                }
            }
        }
        Ok(())
    })
}

/// Tables in an order, and without what changes by itself or what no notification tells of.
fn plain(mut tables: Tables) -> Tables {
    tables.forwarding.clear();
    tables.udp_sockets.clear();
    let is_told = |state| {
        // Entries of no use are made without a word (net/core/neighbour.c, neigh_create).
        !matches!(state, NeighbourState::None | NeighbourState::NoArp | NeighbourState::Incomplete)
    };
    tables.neighbours.retain(|it| is_told(it.state));
    for entry in &mut tables.neighbours {
        (entry.updated_age, entry.confirmed_age) = (None, None);
    }
    tables.fdb.iter_mut().for_each(|it| it.updated_age = None);
    tables.addresses.iter_mut().for_each(|it| it.created_age = None);
    tables.links.sort_by_key(|it| it.index);
    tables.addresses.sort_by_key(|it| (it.ifindex, it.address, it.prefix_length));
    tables.neighbours.sort_by_key(|it| (it.ifindex, it.address));
    tables.fdb.sort_by_key(|it| (it.ifindex, it.mac, it.destination));
    tables.routes.sort_by_key(|it| (it.table, it.destination, it.metric));
    tables.rules.sort_by_key(|it| (it.family, it.priority, it.table));
    tables
}
