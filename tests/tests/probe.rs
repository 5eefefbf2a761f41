//! `check --probe`: packets of several sizes through the tunnel, where the network between the nodes
//! loses the large ones, their fragments, or nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::Value;
use tracer_tests::{
    expect,
    fault::{Injection, filter::Chain},
    lab::{LOCK_WAIT, Lab},
    lan::narrow::{plain_switch, port_mtu, uplink_mtu, without_fragments},
    plan::{Family, Plan, Stack},
    script::{Script, Tool},
    seed::Shape,
    told::in_labs,
    tracer::{CheckOutput, Intent},
};

/// Smaller than the uplinks, and large enough for IPv6 inside the tunnel.
const NARROW: u32 = 1400;
const OPTIONS: [&str; 3] = ["--duration", "1s", "--probe"];
const PATH: &str = "path-mtu-blackhole";
const FRAGMENTS: &str = "outer-fragments-dropped";
const FRAGMENTING: &str = "tunnel-fragments-outer";

fn lab(stack: Stack, uplink_mtu: u32) -> Lab {
    let shape = Shape { nodes: Some(3), stack, uplink_mtu, ..Shape::default() };
    Lab::up(Plan::draw(tracer_tests::seed::random(), &shape), LOCK_WAIT).unwrap()
}

/// What a node has to tell: codes and subjects.
type Told = Vec<(&'static str, String)>;

/// What is wrong when nodes that are looked at together tell anything but this.
fn wrong(lab: &Lab, expected: &[(usize, Told)]) -> String {
    let nodes: Vec<usize> = expected.iter().map(|(node, _)| *node).collect();
    let answers = lab.check_all(&nodes, Intent::SubnetEnv, &OPTIONS).unwrap();
    let each = expected.iter().zip(answers);
    each.map(|((node, told), answer)| wrong_answer(lab, *node, told, &answer)).collect()
}

fn wrong_answer(lab: &Lab, node: usize, told: &Told, answer: &CheckOutput) -> String {
    let told: Vec<(&str, &str)> = told.iter().map(|it| (it.0, it.1.as_str())).collect();
    let (name, seed) = (&lab.plan().nodes[node].name, lab.plan().seed);
    let wrong = expect::only(&told, answer).err();
    let probes = &answer.json["probes"];
    wrong.map_or_else(String::new, |it| format!("seed {seed}, {name}: {it:#}\n{probes}\n"))
}

/// A finding about each of these nodes.
fn about(plan: &Plan, code: &'static str, nodes: &[usize], family: Family) -> Told {
    let mut networks: Vec<_> = nodes.iter().map(|it| plan.nodes[*it].subnet.of(family)).collect();
    networks.sort();
    networks.into_iter().map(|network| (code, network.to_string())).collect()
}

fn peers_that_answer_full(answer: &CheckOutput) -> usize {
    let rows = answer.json["probes"].as_array().unwrap();
    let is_full = |row: &&Value| {
        let largest = row["sizes"].as_array().and_then(|sizes| sizes.last()).cloned();
        largest.is_some_and(|size| size["answered"].as_u64() > Some(0))
    };
    rows.iter().filter(is_full).count()
}

#[test]
fn full_packets_pass_where_nothing_is_wrong() {
    in_labs(
        |stack| lab(stack, NARROW),
        |lab, _| {
            let all = lab.plan().all_nodes();
            let answers = lab.check_all(&all, Intent::SubnetEnv, &OPTIONS).unwrap();
            let each = all.iter().zip(&answers);
            each.map(|(node, answer)| {
                assert_eq!(peers_that_answer_full(answer), all.len() - 1, "{}", answer.json);
                wrong_answer(lab, *node, &Vec::new(), answer)
            })
            .collect()
        },
    )
    .unwrap();
}

/// As a VPN or PPPoE on the way to one node: nobody who sends to it knows, and neither does it itself.
#[test]
fn a_link_on_the_way_that_is_too_small_is_told_by_who_sends_over_it() {
    in_labs(
        |stack| lab(stack, 1500),
        |lab, family| {
            let (plan, far) = (lab.plan(), lab.plan().site.peer);
            let node = &plan.nodes[far];
            let narrow = [plain_switch(), port_mtu(node, NARROW)];
            let _narrow = Injection::apply(&narrow, vec![port_mtu(node, 1500)]).unwrap();
            let others = plan.others(far);
            let of_far = (far, about(plan, PATH, &others, family));
            let of_others = others.iter().map(|it| (*it, about(plan, PATH, &[far], family)));
            wrong(lab, &of_others.chain([of_far]).collect::<Vec<_>>())
        },
    )
    .unwrap();
}

#[test]
fn fragments_that_the_network_drops_are_told_and_those_that_pass_are_not() {
    in_labs(
        |stack| lab(stack, 1500),
        |lab, family| {
            let (plan, victim) = (lab.plan(), lab.plan().site.victim);
            let node = &plan.nodes[victim];
            let fragmenting = vec![(FRAGMENTING, plan.overlay(family))];
            let small = [uplink_mtu(node, NARROW)];
            let _small = Injection::apply(&small, vec![uplink_mtu(node, 1500)]).unwrap();
            let passing = wrong(lab, &[(victim, fragmenting.clone())]);
            let (dropping, gone) = without_fragments();
            let _dropping = Injection::apply(&[plain_switch(), dropping], vec![gone]).unwrap();
            // By IPv6 no fragment leaves: the kernel refuses full packets, and says so.
            let others = if family == Family::V4 { plan.others(victim) } else { Vec::new() };
            let lost = about(plan, FRAGMENTS, &others, family);
            passing + &wrong(lab, &[(victim, [lost, fragmenting].concat())])
        },
    )
    .unwrap();
}

/// A router on the way that says so, or a route with an MTU: the kernel tells the pods.
#[test]
fn a_way_whose_mtu_the_kernel_knows_is_no_black_hole() {
    in_labs(
        |stack| lab(stack, 1500),
        |lab, family| {
            let (plan, site) = (lab.plan(), lab.plan().site);
            let (victim, peer) = (&plan.nodes[site.victim], &plan.nodes[site.peer]);
            let to = format!("{}/{}", peer.ip.of(family), family.bits());
            let set = format!("route add {to} dev {} mtu {NARROW}", victim.uplink);
            let script = |line: String| match family {
                Family::V4 => Script::ip(&victim.namespace, [line]),
                Family::V6 => Script::new(Tool::Ip6, Some(&victim.namespace), [line]),
            };
            let gone = format!("route del {to} dev {}", victim.uplink);
            let _known = Injection::apply(&[script(set)], vec![script(gone)]).unwrap();
            wrong(lab, &[(site.victim, Vec::new())])
        },
    )
    .unwrap();
}

#[test]
fn a_peer_that_answers_no_probe_is_no_fault() {
    in_labs(
        |stack| lab(stack, 1500),
        |lab, _| {
            let (plan, site) = (lab.plan(), lab.plan().site);
            let silent = Chain::inet("input");
            let _silent = silent.dropping(&plan.nodes[site.peer], "udp dport 33434").unwrap();
            let answer = lab.check(site.victim, Intent::SubnetEnv, &OPTIONS).unwrap();
            assert_eq!(peers_that_answer_full(&answer), plan.others(site.victim).len() - 1);
            assert!(answer.json["unseen"].to_string().contains("no probe is answered"));
            wrong_answer(lab, site.victim, &Vec::new(), &answer)
        },
    )
    .unwrap();
}
