//! The recorded evidence of both nodes of a fault, judged together.

use std::collections::BTreeSet;

use super::{
    super::corpus::{Pair, pairs},
    judge, told,
};
use crate::{evidence::Flow, topology::nth_address};

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

#[test]
fn a_pod_that_loses_packets_explains_nothing_of_another_pod() {
    let loses = |(name, _): &Pair| name == "pod-policy-drops";
    let (_, [(here, _), (mut there, _)]) = pairs().into_iter().find(loses).unwrap();
    let of_pod = judge(&[here.clone(), there.clone()]).findings.remove(0).finding;
    let (pod, cidr) = (of_pod.subject.address.unwrap(), of_pod.subject.cidr.unwrap());
    let flows = &mut there.traffic.as_mut().unwrap().flows;
    let in_vain = flows.iter().find(|it| it.destination == pod && it.packets.wire_out > 3);
    let to_another = Flow { destination: nth_address(cidr, 201), ..in_vain.unwrap().clone() };
    flows.push(to_another);
    let found = judge(&[here, there]).findings;
    let codes: Vec<&str> = found.iter().map(|it| it.finding.code).collect();
    assert_eq!(codes, ["pod-policy-drops", "unexplained-loss"]);
}
