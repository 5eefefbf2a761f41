//! The IPv6 twin of a node, and a node of both IP versions.
//!
//! Each address a.b.c.d becomes fd00:a:b:c::d, so that networks stay networks; flannel.1 becomes
//! flannel-v6.1, whose tunnel takes 20 bytes more.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value, json};

use super::{OVERLAY, observe, via};
use crate::evidence::{Evidence, Link, Route, Scope, Tables, Traffic};

/// By how much the ifindex of flannel's IPv6 device is greater where a node has both.
const APART: u32 = 100;

/// The same node with IPv6 instead of IPv4; `None` where a pod CIDR has no counterpart.
pub(crate) fn twin(evidence: &Evidence) -> Option<Evidence> {
    let odd = |tables: &Tables| {
        tables.routes.iter().any(|it| (25..32).contains(&it.destination.prefix_len()))
    };
    let is_mixed = evidence.intent.subnet_env.iter().flat_map(|it| &it.subnets).any(is_ipv6)
        || evidence.intent.peers.iter().any(|it| is_ipv6(&it.pod_cidr))
        || evidence.roles.overlay6.is_some();
    if is_mixed || evidence.tables.as_ref().is_some_and(odd) {
        return None;
    }
    let mut value = serde_json::to_value(evidence).unwrap();
    turn(&mut value);
    let mut twin: Evidence = serde_json::from_value(value).unwrap();
    twin.roles.overlay6 = twin.roles.overlay.take();
    twin.tables.iter_mut().chain(&mut twin.tables_after).for_each(add_own_routes);
    observe(&mut twin);
    Some(twin)
}

const fn is_ipv6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

/// What a finding's words about the node are for its twin.
pub(crate) fn twin_words(words: &str) -> String {
    let words: Vec<String> = words.split(' ').map(turned).collect();
    words.join(" ")
}

/// A node with IPv4 as in `v4` and IPv6 as in `v6`; what both share is as in `broken`.
pub(crate) fn dual(v4: &Evidence, v6: &Evidence, broken: &Evidence) -> Evidence {
    let mut dual = broken.clone();
    let mut v6 = v6.clone();
    v6.tables.iter_mut().chain(&mut v6.tables_after).for_each(move_overlay);
    dual.tables = v4.tables.clone().zip(v6.tables).map(|(v4, v6)| both_tables(v4, v6, broken));
    dual.traffic = v4.traffic.clone().zip(v6.traffic).map(|(v4, v6)| both_traffic(v4, v6));
    dual.intent = v4.intent.clone();
    dual.intent.peers.extend(v6.intent.peers);
    if let Some((env, of_v6)) = dual.intent.subnet_env.as_mut().zip(v6.intent.subnet_env) {
        env.subnets.extend(of_v6.subnets);
        env.networks.extend(of_v6.networks);
    }
    dual.intent.flannel_netfilter.push("ip6 chain FLANNEL-FWD".to_owned());
    observe(&mut dual);
    dual
}

/// The kernel writes a route to each IPv6 address into table main too.
fn add_own_routes(tables: &mut Tables) {
    let own = tables.addresses.iter().filter(|it| it.prefix_length == 128);
    let routes: Vec<Route> = own.map(|it| via(it.address.into(), None, it.ifindex)).collect();
    tables.routes.extend(routes);
}

/// The devices but flannel's are the same ones.
fn both_tables(mut v4: Tables, v6: Tables, broken: &Evidence) -> Tables {
    let is_own = |link: &Link| link.index == OVERLAY || link.index == OVERLAY + APART;
    let overlays = v4.links.iter().chain(&v6.links).filter(|it| is_own(it));
    let shared = broken.tables.iter().flat_map(|it| &it.links).filter(|it| !is_own(it));
    v4.links = shared.chain(overlays).cloned().collect();
    v4.addresses.extend(v6.addresses);
    v4.forwarding.extend(v6.forwarding);
    v4.rules.extend(v6.rules);
    v4.routes.extend(v6.routes);
    v4.neighbours.extend(v6.neighbours);
    v4.fdb.extend(v6.fdb);
    v4
}

fn both_traffic(mut v4: Traffic, v6: Traffic) -> Traffic {
    v4.peers.extend(v6.peers);
    v4.flows.extend(v6.flows);
    v4.strangers.extend(v6.strangers);
    v4.sightings.extend(v6.sightings);
    let leak = v4.stages.leak.packets + v6.stages.leak.packets;
    v4.stages.leak.packets = leak;
    v4
}

/// Gives flannel's device its number on a node with both.
fn move_overlay(tables: &mut Tables) {
    let moved = |index: &mut u32| *index += if *index == OVERLAY { APART } else { 0 };
    tables.links.iter_mut().for_each(|it| moved(&mut it.index));
    tables.addresses.iter_mut().for_each(|it| moved(&mut it.ifindex));
    tables.neighbours.iter_mut().for_each(|it| moved(&mut it.ifindex));
    tables.fdb.iter_mut().for_each(|it| moved(&mut it.ifindex));
    let hops = tables.routes.iter_mut().flat_map(|it| &mut it.next_hops);
    hops.filter_map(|it| it.ifindex.as_mut()).for_each(moved);
    for setting in &mut tables.forwarding {
        if let Scope::Device(index) = &mut setting.scope {
            moved(index);
        }
    }
}

fn turn(value: &mut Value) {
    match value {
        Value::String(text) => *text = turned(text),
        Value::Array(all) => all.iter_mut().for_each(turn),
        Value::Object(fields) => turn_fields(fields),
        _ => {}
    }
}

fn turn_fields(fields: &mut Map<String, Value>) {
    if let Some(length) = fields.get("prefix_length").and_then(Value::as_u64)
        && fields["address"].as_str().is_some_and(|it| it.parse::<Ipv4Addr>().is_ok())
    {
        fields.insert("prefix_length".to_owned(), json!(length_of(length as u8)));
    }
    if fields.get("family") == Some(&json!(4)) {
        fields.insert("family".to_owned(), json!(6));
    }
    if fields.get("mtu") == Some(&json!(1450)) {
        fields.insert("mtu".to_owned(), json!(1430));
    }
    // EtherTypes of IPv4 and IPv6.
    if fields.get("ethertype") == Some(&json!(0x0800)) {
        fields.insert("ethertype".to_owned(), json!(0x86dd));
    }
    if fields.contains_key("quoted") {
        turn_error(fields);
    }
    fields.values_mut().for_each(turn);
}

/// An ICMP error becomes the ICMPv6 error that says the same (RFC 4443, section 3).
fn turn_error(fields: &mut Map<String, Value>) {
    let (kind, code) = match (fields["kind"].as_u64(), fields["code"].as_u64()) {
        (Some(3), Some(3)) => (1, 4),
        (Some(3), Some(9 | 10 | 13)) => (1, 1),
        (Some(3), Some(1)) => (1, 3),
        (Some(3), _) => (1, 0),
        (Some(11), _) => (3, 0),
        other => panic!("no ICMPv6 error says the same as {other:?}"),
    };
    fields.insert("kind".to_owned(), json!(kind));
    fields.insert("code".to_owned(), json!(code));
}

fn turned(text: &str) -> String {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return of(address).to_string();
    }
    if let Ok(network) = text.parse::<Ipv4Net>() {
        let network = Ipv6Net::new(of(network.addr()), length_of(network.prefix_len()));
        return network.unwrap().to_string();
    }
    if let Ok(socket) = text.parse::<SocketAddrV4>() {
        return SocketAddr::new(of(*socket.ip()).into(), socket.port()).to_string();
    }
    text.replace("flannel.", "flannel-v6.").replace("chain FLANNEL", "ip6 chain FLANNEL")
}

fn of(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets().map(u16::from);
    match address {
        Ipv4Addr::UNSPECIFIED => Ipv6Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST => Ipv6Addr::LOCALHOST,
        _ => Ipv6Addr::new(0xfd00, a, b, c, 0, 0, 0, d),
    }
}

/// Octets stand in the lower half of 16 bits each, the last one at the end.
fn length_of(length: u8) -> u8 {
    match (length / 8, length % 8) {
        (0, 0) => 0,
        (octets @ 0..=3, 0) => 16 + 16 * octets,
        (octets @ 0..=2, bits) => 16 + 16 * octets + 8 + bits,
        (_, bits) => 128 - if length == 32 { 0 } else { 8 - bits },
    }
}
