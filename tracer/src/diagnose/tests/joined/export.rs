//! What is printed of several nodes.

use serde_json::Value;

use super::{healthy, hear_nothing, judge, lose_route, make_one_way, node, pair, plan};
use crate::{
    diagnose::{
        Severity, exit_status_joined,
        testing::{Pass, dual, twin},
    },
    evidence::{Evidence, PeerProbe, Probes},
    export::{json, text},
};

fn text_of(nodes: &[Evidence]) -> String {
    let joined = judge(nodes);
    let status = exit_status_joined(&joined, nodes, Severity::Warning);
    anstream::adapter::strip_str(&text::render_joined(&joined, nodes, status)).to_string()
}

fn json_of(nodes: &[Evidence]) -> Value {
    serde_json::from_str(&json::render_joined(&judge(nodes), nodes, None).unwrap()).unwrap()
}

#[test]
fn the_matrix_tells_who_reaches_whom() {
    let text = text_of(&pair(Pass::Tables, make_one_way, lose_route));
    let matrix: Vec<&str> =
        text.lines().skip_while(|it| !it.starts_with("peers")).take(3).collect();
    assert_eq!(
        matrix,
        [
            "peers     from \\ to            1          2",
            "          1 n0 (192.168.77.10) -          BROKEN",
            "          2 n1 (192.168.77.11) BROKEN     -",
        ],
        "{text}"
    );
    assert!(text.contains("\n  on        n1 (192.168.77.11)\n"), "{text}");
    assert_eq!(text.lines().last(), Some("2 findings, 2 nodes, exit 1"));
}

#[test]
fn every_line_fits_however_many_nodes_there_are() {
    for nodes in [2, 5, 7, 12] {
        let mut all: Vec<Evidence> =
            (0..nodes).map(|own| node(&plan(own, nodes, Pass::Tables))).collect();
        all[0].node.name =
            "a-node-with-a-name-of-sixty-three-characters-as-kubernetes-permits".into();
        hear_nothing(&mut all[0], &plan(0, nodes, Pass::Tables));
        let text = text_of(&all);
        assert!(text.lines().all(|it| it.chars().count() <= 100), "{text}");
        let is_listed = text.contains("ways ok");
        assert_eq!(is_listed, nodes > 6, "{text}");
        assert_eq!(text, text_of(&all), "the same again");
    }
}

#[test]
fn nodes_of_both_ip_versions_have_a_matrix_for_each() {
    let both = pair(Pass::Tables, healthy, healthy).map(|it| {
        let other = twin(&it).unwrap();
        dual(&it, &other, &it)
    });
    let text = text_of(&both);
    for title in ["peers     IPv4 \\ to ", "          IPv6 \\ to "] {
        assert!(text.lines().any(|it| it.starts_with(title)), "{text}");
    }
}

#[test]
fn the_json_names_nodes_and_where_things_were_seen() {
    let json = json_of(&pair(Pass::Tables, make_one_way, lose_route));
    assert_eq!(json["schema"], "flannel-tracer/check/v1");
    assert_eq!(json["node"]["name"], "n0");
    let keys = |list: &str, key: &str| -> Vec<String> {
        let rows = json[list].as_array().unwrap().iter();
        rows.map(|row| row[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("nodes", "key"), ["10.244.0.0/24", "10.244.1.0/24"]);
    assert_eq!(keys("nodes", "name"), ["n0", "n1"]);
    assert_eq!(keys("findings", "node"), ["10.244.1.0/24", "10.244.0.0/24"]);
    let mut rows: Vec<_> =
        keys("peers", "seen_from").into_iter().zip(keys("peers", "key")).collect();
    rows.sort();
    let way = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let expected = [way("10.244.0.0/24", "10.244.1.0/24"), way("10.244.1.0/24", "10.244.0.0/24")];
    assert_eq!(rows, expected);
    assert_eq!(json["coverage"]["peers_total"], 2);
    assert_eq!(json["coverage"]["stages"], true);
}

#[test]
fn what_peers_answered_each_node_stands_with_that_node() {
    let mut nodes = pair(Pass::Tables, healthy, healthy);
    let cidr = "10.244.0.0/24".parse().unwrap();
    let peer = PeerProbe { cidr, address: None, heeded: false, sizes: Vec::new() };
    nodes[1].probes = Some(Probes { seconds: 3.0, peers: vec![peer] });
    let json = json_of(&nodes);
    assert!(json.get("probes").is_none() && json["nodes"][0].get("probes").is_none());
    assert_eq!(json["nodes"][1]["probes"][0]["peer"], "10.244.0.0/24");
}

#[test]
fn one_that_was_not_observed_leaves_all_unobserved() {
    let mut nodes = pair(Pass::Tables, healthy, healthy);
    nodes[1].traffic = None;
    let joined = judge(&nodes);
    assert!(joined.coverage.tables && !joined.coverage.stages);
    assert_eq!(exit_status_joined(&joined, &nodes, Severity::Warning), 2);
    let line = "n1 (192.168.77.11): packets: the stages were not observed";
    assert!(joined.unseen.iter().any(|it| it == line), "{:?}", joined.unseen);
}
