//! What `check` prints: the JSON of the contract, and text for a person at a terminal.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::{Value, json};
use tracer_tests::{
    fault,
    lab::{LOCK_WAIT, Lab},
    plan::Plan,
    seed::Shape,
    tracer::Intent,
};

const WINDOW: [&str; 2] = ["--duration", "3s"];
/// Columns of a terminal.
const WIDTH: usize = 100;

fn lab(seed: u64) -> Lab {
    let shape = Shape { nodes: Some(3), ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// An entry of `vips`, in the words of [`contract`].
fn vip() -> Value {
    json!({"address": "ip", "interface": "text|null", "requests": "count",
        "retrying_clients": "count", "clients": ["ip"], "replies": "count",
        "gratuitous": "count", "owner_mac": "mac|null", "owner_node": "text|null",
        "owner_since": "time|null", "former_owner_mac": "mac|null",
        "gap_seconds": "number|null", "owner_changes": "count",
        "macs": [{"mac": "mac", "node": "text|null", "replies": "count",
            "gratuitous": "count"}],
        "ours": "bool", "last_gratuitous": "time|null"})
}

/// The contract. A text is a type, or words of which the value is one; `a|null` may be null. In
/// a list every entry is like the first, except where the list is empty. Keys of an empty object
/// are free, their values are counts. An object with a key `null` may be null itself.
fn contract() -> Value {
    let count = json!({"packets": "count", "bytes": "count"});
    json!({
        "schema": "flannel-tracer/check/v1",
        "node": {"name": "text", "ip": "ip|null", "pod_cidrs": ["cidr"], "kernel": "text",
            "platform": "k3s-server|k3s-agent|rke2-server|rke2-agent|talos|kubeadm|unknown"},
        "window": {"start": "time", "seconds": "number"},
        "interfaces": [{"role": "overlay|bridge|uplink|vip", "name": "text", "ifindex": "count",
            "mac": "mac|null", "mtu": "count", "state": "up|down|no-carrier", "vni": "count|null",
            "port": "count|null", "attached": "bool"}],
        "capabilities": [{"feature": "text", "state": "on|degraded|off", "because": "text"}],
        "coverage": {"tables": "bool", "stages": "bool", "drops": "on|degraded|off",
            "peers_total": "count", "peers_verified": "count", "peers_unverified": "count",
            "daemon": "bool"},
        "stages": {"pod_out": count, "overlay_out": count, "wire_out": count, "wire_in": count,
            "overlay_in": count, "pod_in": count, "leak": count, "host": count},
        "flows": [{"source": "ip", "destination": "ip", "translated_destination": "ip|null",
            "protocol": "text", "source_port": "count", "destination_port": "count",
            "packets": {"pod_out": "count", "overlay_out": "count", "wire_out": "count",
                "wire_in": "count", "overlay_in": "count", "pod_in": "count"},
            "lost_after": "pod_out|overlay_out|wire_out|wire_in|overlay_in|pod_in|null",
            "answered_by": "ip|null", "source_pod": "text|null", "destination_pod": "text|null"}],
        "peers": [{"key": "cidr", "node_ip": "ip|null", "name": "text|null",
            "pod_cidrs": ["cidr"], "vtep_mac": "mac|null", "family": "count",
            "packets": {"overlay_out": "count", "wire_out": "count", "wire_in": "count",
                "overlay_in": "count"},
            "last_seen": "time|null",
            "state": "ok|broken|one-way-out|one-way-in|silent|unverified", "alive": "bool|null"}],
        "drops": [{"cause": "text", "reason": "text|null", "symbol": "text|null",
            "interface": "text|null", "where": "node|pod", "packets": "count",
            "flow": {"null": true, "source": "ip", "destination": "ip", "protocol": "text",
                "source_port": "count", "destination_port": "count"},
            "outer": {"null": true, "source": "ip", "destination": "ip"}}],
        "dns": [{"server": "ip|null", "endpoint": "ip|null", "transport": "udp|tcp",
            "queries": "count", "answers": "count", "pending": "count", "timeouts": "count",
            "retries": "count", "tcp_fallbacks": "count", "lost_after_stage": "text|null",
            "answer_last_stage": "text|null", "rcodes": {},
            "latency_ms": {"p50": "number|null", "p99": "number|null"}}],
        "vips": [vip()],
        "flannel": {"process": "flanneld|k3s|rke2|none|unknown", "pid": "count|null",
            "since": "time|null", "memory_bytes": "count|null",
            "memory_limit_bytes": "count|null", "oom_kills": "count|null",
            "last_oom": "time|null"},
        "findings": [{"code": "text", "severity": "critical|warning|info",
            "confidence": "certain|likely", "title": "text",
            "subject": {"kind": "peer|interface|node|flow|vip|dns-server", "key": "text",
                "peer": "ip|null", "cidr": "cidr|null", "vtep_mac": "mac|null",
                "interface": "text|null", "address": "ip|null"},
            "since": {"time": "time|null", "not_before": "time|null", "not_after": "time|null",
                "precision": "exact|bounded|before-start", "changed_by": "text|null"},
            "impact": {"packets": "count", "flows": "count"},
            "breaks": ["text"], "evidence": ["text"], "remedy": ["text"]}],
        "unseen": ["text"],
        "self": {"parse_errors": "count", "slow_parse": "count", "events_lost": "count",
            "flow_evictions": "count", "map_insert_failures": "count"},
        "truncated": {},
    })
}

/// Everything about `value` that the contract does not allow, by its path.
fn breaches(path: &str, value: &Value, contract: &Value) -> Vec<String> {
    match contract {
        Value::Object(keys) if keys.is_empty() => counts(path, value),
        Value::Object(keys) if keys.contains_key("null") && value.is_null() => Vec::new(),
        Value::Object(keys) => keys
            .iter()
            .filter(|(key, _)| *key != "null")
            .flat_map(|(key, of_key)| match value.get(key) {
                Some(value) => breaches(&format!("{path}.{key}"), value, of_key),
                None => vec![format!("{path} has no key {key}")],
            })
            .collect(),
        Value::Array(of_all) => match value.as_array() {
            Some(list) => list
                .iter()
                .flat_map(|entry| breaches(&format!("{path}[]"), entry, &of_all[0]))
                .collect(),
            None => vec![format!("{path} is no list: {value}")],
        },
        _ => {
            let allowed = contract.as_str().unwrap();
            let fits = allowed.split('|').any(|kind| is_a(kind, value));
            if fits { Vec::new() } else { vec![format!("{path} is no {allowed}: {value}")] }
        }
    }
}

fn counts(path: &str, value: &Value) -> Vec<String> {
    let Some(entries) = value.as_object() else { return vec![format!("{path} is no object")] };
    let wrong = entries.iter().filter(|(_, count)| !count.is_u64());
    wrong.map(|(key, count)| format!("{path}.{key} is no count: {count}")).collect()
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "bool" => value.is_boolean(),
        "count" => value.is_u64(),
        "number" => value.is_number(),
        _ => value.as_str().is_some_and(|text| is_text(kind, text)),
    }
}

fn is_text(kind: &str, text: &str) -> bool {
    match kind {
        "text" => !text.is_empty(),
        "ip" => text.parse::<std::net::IpAddr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => text.len() == 17 && text.split(':').all(|it| u8::from_str_radix(it, 16).is_ok()),
        // RFC 3339, UTC.
        "time" => text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z'),
        word => text == word,
    }
}

fn assert_keeps_contract(json: &Value, filled: &[&str]) {
    let breaches = breaches("", json, &contract());
    assert!(breaches.is_empty(), "{breaches:#?}");
    for list in filled {
        assert!(!json[*list].as_array().unwrap().is_empty(), "{list} is empty");
    }
}

#[test]
fn the_json_of_a_healthy_and_of_a_broken_node_keeps_the_contract() {
    let lab = lab(420);
    let site = lab.plan().site;
    let _traffic = lab.traffic_all_pairs();
    let always = ["interfaces", "capabilities", "flows", "peers", "unseen"];
    for intent in Intent::ALL {
        let healthy = lab.check(site.victim, intent, &WINDOW).unwrap();
        assert_keeps_contract(&healthy.json, &always);
    }
    let tables_only = lab.check(site.victim, Intent::Nothing, &["--duration", "0"]).unwrap();
    assert_keeps_contract(&tables_only.json, &["interfaces", "capabilities", "peers", "unseen"]);
    for name in ["pod-route-missing", "flannel-link-missing", "cni0-down"] {
        let injection = lab.inject(&fault::named(name).unwrap(), site).unwrap();
        let broken = lab.check(site.victim, Intent::SubnetEnv, &["--duration", "1s"]).unwrap();
        assert_keeps_contract(&broken.json, &["findings", "unseen"]);
        injection.heal().unwrap();
    }
}

#[test]
fn a_breach_of_the_contract_is_seen() {
    let contract = json!({"a": "count", "b": [{"c": "x|null"}], "d": {}});
    let breaches = |value: Value| breaches("", &value, &contract);
    assert!(breaches(json!({"a": 1, "b": [{"c": null}, {"c": "x"}], "d": {"k": 3}})).is_empty());
    assert_eq!(breaches(json!({"a": -1, "b": [], "d": {}})), [".a is no count: -1"]);
    assert_eq!(breaches(json!({"a": 1, "b": [{}], "d": {}})), [".b[] has no key c"]);
    assert_eq!(
        breaches(json!({"a": 1, "b": [{"c": "y"}], "d": {}})),
        [".b[].c is no x|null: \"y\""]
    );
    assert_eq!(breaches(json!({"a": 1, "b": [], "d": {"k": "v"}})), [".d.k is no count: \"v\""]);
    let contract = json!({"e": {"null": true, "f": "count"}});
    let breaches = |value: Value| self::breaches("", &value, &contract);
    assert!(breaches(json!({"e": null})).is_empty());
    assert_eq!(breaches(json!({"e": {}})), [".e has no key f"]);
}

/// The text of one check of a node, and its exit status.
fn text_of(lab: &Lab, node: usize) -> (String, Option<i32>) {
    let output = lab.check_raw(node, Intent::PeersFile, &WINDOW).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// The words, with every number turned into `#`: a longer number may break a line elsewhere.
fn words(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let parts = word.split(|it: char| it.is_ascii_digit()).filter(|it| !it.is_empty());
        let number = if word.contains(|it: char| it.is_ascii_digit()) { "#" } else { "" };
        format!("{number}{}", parts.collect::<Vec<_>>().join("#"))
    };
    text.split_whitespace().map(word).collect()
}

/// The words of whatever a check found; when it began decides how many queries were under way then.
fn lasting(text: &str) -> String {
    words(text).join(" ").replace(", # lost sight of", "")
}

#[test]
fn the_text_of_the_demo_fits_a_terminal_has_no_colour_and_is_the_same_again() {
    let lab = lab(421);
    let plan = lab.plan();
    let _traffic = lab.traffic_all_pairs();
    let _injection = lab.inject(&fault::all()[0], plan.site).unwrap();
    let (text, status) = text_of(&lab, plan.site.victim);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
    let (victim, peer) = (plan.victim(), plan.peer());
    assert!(text.starts_with(&format!("node {}  {}  ", victim.name, victim.ip.v4)), "{text}");
    let headline = format!("CRITICAL  pod-route-missing  No route to {}", peer.subnet.v4);
    let labels = ["  since ", "  impact ", "  evidence ", "  repair ", "peers ", "not seen "];
    for label in [&[headline.as_str()], &labels[..]].concat() {
        assert!(text.lines().any(|line| line.starts_with(label)), "no {label} in\n{text}");
    }
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("1 finding, ") && last.ends_with(" s, exit 1"), "{last}");
    let (again, _) = text_of(&lab, plan.site.victim);
    assert_eq!(lasting(&text), lasting(&again), "\n{text}\n{again}");
}

#[test]
fn the_text_of_a_healthy_node_says_so_in_its_last_line() {
    let lab = lab(422);
    let plan = lab.plan();
    let _traffic = lab.traffic_all_pairs();
    let (text, status) = text_of(&lab, plan.site.victim);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.lines().last().unwrap().starts_with("no finding, "), "{text}");
    assert_eq!(text.matches("ok (traffic both ways)").count(), 2, "{text}");
}
