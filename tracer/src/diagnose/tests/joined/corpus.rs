//! The recorded evidence of both nodes of a fault, judged together.

use std::collections::BTreeSet;

use super::{super::corpus::pairs, judge, told};

/// What names no cause, and becomes part of one where the other node's evidence is there.
const LESSER: [&str; 2] = ["tunnel-one-way", "unexplained-loss"];

#[test]
fn of_two_recorded_nodes_the_one_with_the_cause_tells_it_and_the_other_nothing_else() {
    let pairs = pairs();
    assert!(pairs.len() > 20, "{}", pairs.len());
    for (name, nodes) in pairs {
        let joined = judge(&nodes.each_ref().map(|(evidence, _)| evidence.clone()));
        let of = |(node, (_, expected)): (usize, &(_, Vec<String>))| -> Vec<String> {
            expected.iter().map(|it| format!("{node}: {it}")).collect()
        };
        let alone: BTreeSet<String> = nodes.iter().enumerate().flat_map(of).collect();
        let is_lesser = |it: &&String| LESSER.iter().any(|code| it.contains(code));
        let causes: BTreeSet<String> = alone.iter().filter(|it| !is_lesser(it)).cloned().collect();
        let mut found: BTreeSet<String> = told(&joined).into_iter().collect();
        let mut expected = causes;
        match name.as_str() {
            // What n2 has not, n1 is told of with the code of its own.
            "pod-route-missing" => {
                let felt = alone.iter().find(|it| it.contains("tunnel-one-way")).unwrap();
                expected.insert(felt.replace("tunnel-one-way", "return-route-missing-on-peer"));
            }
            // The fault lies between the two.
            "peer-node-unreachable-l2" => {
                expected.retain(|it| it.starts_with("0: "));
            }
            // Both nodes live, as their evidence shows: what lies between them is silent.
            "peer-node-silent" => {
                expected.retain(|it| it.starts_with("0: "));
                expected =
                    expected.iter().map(|it| it.replace(&name, "underlay-drops-vxlan")).collect();
            }
            // The cause is no fault of the way, but of an uplink that n1 cannot see.
            "uplink-down" => expected.retain(|it| it.contains("uplink-down")),
            // A warning explains nothing critical.
            "neigh-entry-wrong-peer" => {
                found.retain(|it| !it.contains("tunnel-one-way"));
            }
            _ => {}
        }
        assert_eq!(found, expected, "{name}: {joined:#?}");
    }
}
