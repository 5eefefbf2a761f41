//! What the kernel counts and how it is set, against what iproute2 says of the same namespace.

use std::net::UdpSocket;

use serde_json::Value;
use tracer::{
    evidence::{DeviceCounters, DontFragment, RpFilter, Statistics},
    netlink::dump_tables,
    statistics::{self, Reading},
};

use crate::namespace::Namespace;

const NODE: &str = "
    ip link set lo up
    ip link add eth0 type veth peer name wire
    ip link set wire addrgenmode none
    ip link set wire up
    ip link set eth0 up
    ip link add calling type bridge nf_call_iptables 1
    ip link add plain type bridge
    sysctl -qw net.ipv4.conf.all.rp_filter=0
    sysctl -qw net.ipv4.conf.eth0.rp_filter=2
";

/// Reads what rose since `before` with all queues kept, and holds that nothing stayed unseen.
fn until(before: &Reading, uplinks: &[u32]) -> Statistics {
    let mut unseen = Vec::new();
    let risen = before.until(statistics::read(), uplinks, &mut unseen);
    assert!(unseen.is_empty(), "{unseen:?}");
    risen
}

fn device<'a>(statistics: &'a Statistics, name: &str) -> &'a DeviceCounters {
    statistics.devices.iter().find(|it| it.interface == name).unwrap()
}

#[test]
fn packets_are_counted_by_device_and_protocol() {
    let namespace = Namespace::new();
    namespace.shell(NODE);
    let risen = namespace.run(|| {
        let before = statistics::read();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Nobody listens there: the first answer is an error for the next one.
        for _ in 0..3 {
            let _ = socket.send_to(b"x", "127.0.0.1:9");
        }
        let nowhere = UdpSocket::bind("0.0.0.0:0").unwrap();
        nowhere.send_to(b"x", "192.0.2.9:9").unwrap_err();
        until(&before, &[])
    });
    let snmp = risen.snmp.unwrap();
    assert!(snmp.udp_no_ports >= 1 && snmp.udp_no_ports <= 3, "{snmp:?}");
    assert!(snmp.ip_out_no_routes >= 1, "{snmp:?}");
    let lo = device(&risen, "lo");
    assert!(lo.rx_packets >= 2 && lo.rx_packets == lo.tx_packets, "{lo:?}");
    let shown = namespace.json("ip -j -s link show lo");
    assert_eq!(Value::from(lo.rx_packets_total), shown[0]["stats64"]["rx"]["packets"]);
    assert_eq!(device(&risen, "eth0").rx_packets, 0);
}

#[test]
fn settings_are_those_of_the_namespace() {
    let namespace = Namespace::new();
    namespace.shell(NODE);
    let read = namespace.run(|| until(&statistics::read(), &[]));
    let filter = |name: Option<&str>| {
        let is_its = |it: &&RpFilter| it.interface.as_deref() == name;
        read.rp_filter.iter().find(is_its).unwrap().mode
    };
    assert_eq!((filter(None), filter(Some("eth0"))), (0, 2));
    assert!(read.settings_read);
    let has_netfilter = std::path::Path::new("/proc/sys/net/bridge").exists();
    assert_eq!(read.bridge_nf_call.is_some(), has_netfilter);
    if has_netfilter {
        assert_eq!(read.bridges_calling, ["calling"]);
        namespace.shell("sysctl -qw net.bridge.bridge-nf-call-iptables=0");
        let off = namespace.run(|| until(&statistics::read(), &[]));
        assert_eq!(off.bridge_nf_call, Some(false));
    }
}

#[test]
fn queues_of_uplinks_and_the_machines_tables_are_read() {
    let namespace = Namespace::new();
    namespace.shell(NODE);
    let shown = namespace.json("ip -j link show eth0");
    let eth0 = u32::try_from(shown[0]["ifindex"].as_u64().unwrap()).unwrap();
    let read = namespace.run(move || until(&statistics::read(), &[eth0]));
    let queues: Vec<(&str, &str)> =
        read.queues.iter().map(|it| (it.interface.as_str(), it.kind.as_str())).collect();
    assert_eq!(queues, [("eth0", "noqueue")]);
    let families: Vec<u8> = read.neighbour_tables.iter().map(|it| it.family).collect();
    assert_eq!(families, [4, 6]);
    assert!(read.neighbour_tables.iter().all(|it| it.most > 0), "{read:?}");
    let has_conntrack = std::path::Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
    assert_eq!(read.conntrack.is_some(), has_conntrack);
    assert!(read.conntrack.is_none_or(|it| it.most > 0 && it.entries <= it.most), "{read:?}");
}

#[test]
fn a_tunnel_tells_which_fragments_it_forbids() {
    let namespace = Namespace::new();
    namespace.shell(
        "ip link add plain type vxlan id 1 dstport 8472
         ip link add set type vxlan id 2 dstport 8472 df set
         ip link add inherit type vxlan id 3 dstport 8472 df inherit",
    );
    let tables = namespace.run(|| dump_tables().unwrap());
    let df = |name| tables.link_named(name).unwrap().vxlan.as_ref().unwrap().df;
    assert_eq!(df("plain"), DontFragment::Unset);
    assert_eq!((df("set"), df("inherit")), (DontFragment::Set, DontFragment::Inherit));
}
