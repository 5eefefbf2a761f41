//! Right answers are right, and every mistake is seen.

use serde_json::json;

use super::*;
use crate::{fault, plan::Stack, seed::Shape};

/// A change of an answer, and a part of what is said about it.
type Mistake = (&'static str, fn(&mut CheckOutput));

fn plan() -> Plan {
    Plan::draw(5, &Shape { nodes: Some(3), ..Shape::default() })
}

fn answer(plan: &Plan, node: usize, status: i32, findings: Value) -> CheckOutput {
    let broken = findings[0]["subject"]["key"].clone();
    let peers: Vec<Value> = plan
        .others(node)
        .into_iter()
        .map(|other| {
            let key = subnet(plan, other, Family::V4);
            let state = if broken == key { "broken" } else { "ok" };
            json!({"key": key, "state": state})
        })
        .collect();
    let coverage = json!({"tables": true, "stages": true});
    let json = json!({"findings": findings, "peers": peers, "coverage": coverage, "unseen": []});
    CheckOutput { status, json, stderr: String::new() }
}

fn about(plan: &Plan, peer: usize, code: &str, confidence: &str) -> Value {
    let end = plan.nodes[peer].end(Family::V4);
    json!([{
        "code": code, "severity": "critical", "confidence": confidence, "title": "title",
        "subject": {"kind": "peer", "key": end.subnet.to_string(), "peer": end.ip.to_string(),
            "cidr": end.subnet.to_string(), "vtep_mac": null, "interface": plan.overlay(Family::V4)},
        "impact": {"packets": 9, "flows": 1}, "evidence": ["why"], "remedy": ["what"],
    }])
}

fn judge(plan: &Plan, node: usize, answer: &CheckOutput) -> Result<Said> {
    let fault = fault::named("pod-route-missing").unwrap();
    let injected = Injected { plan, fault: &fault, site: plan.site };
    injected.judge(node, Intent::PeersFile, answer)
}

/// The victim, the peer that the fault concerns, and the third node, each with a right answer.
fn right(plan: &Plan) -> [(usize, CheckOutput); 3] {
    let Site { victim, peer, .. } = plan.site;
    let third = 3 - victim - peer;
    let cause = about(plan, peer, "pod-route-missing", "certain");
    let lesser = about(plan, victim, "tunnel-one-way", "likely");
    [
        (victim, answer(plan, victim, 1, cause)),
        (peer, answer(plan, peer, 1, lesser)),
        (third, answer(plan, third, 0, json!([]))),
    ]
}

#[test]
fn right_answers_are_right() {
    let plan = plan();
    let said = right(&plan).map(|(node, answer)| judge(&plan, node, &answer).unwrap());
    assert_eq!(said, [Said::Itself, Said::Lesser, Said::Nothing]);
}

#[test]
fn an_info_does_not_change_the_exit_status() {
    let plan = plan();
    let fault = fault::named("pod-mtu-larger-than-tunnel").unwrap();
    let injected = Injected { plan: &plan, fault: &fault, site: plan.site };
    let bridge = &plan.victim().bridge;
    let mut info = about(&plan, plan.site.peer, fault.code, "certain");
    info[0]["severity"] = json!("info");
    info[0]["subject"] = json!({"kind": "interface", "key": bridge, "interface": bridge});
    for (status, is_right) in [(0, true), (1, false)] {
        let mut answer = answer(&plan, plan.site.victim, status, info.clone());
        for peer in answer.json["peers"].as_array_mut().unwrap() {
            peer["state"] = json!("ok");
        }
        let said = injected.judge(plan.site.victim, Intent::SubnetEnv, &answer);
        assert_eq!(said.is_ok(), is_right, "{said:?}");
    }
}

#[test]
fn every_mistake_of_the_victim_is_seen() {
    let plan = plan();
    let mistakes: [Mistake; 11] = [
        ("finds nothing", |it| it.json["findings"] = json!([])),
        ("finds [", |it| {
            let twice = json!([it.json["findings"][0], it.json["findings"][0]]);
            it.json["findings"] = twice;
        }),
        ("finds fdb", |it| it.json["findings"][0]["code"] = json!("fdb-entry-missing")),
        ("severity", |it| it.json["findings"][0]["severity"] = json!("warning")),
        ("subject.cidr", |it| it.json["findings"][0]["subject"]["cidr"] = json!("10.0.0.0/8")),
        ("subject.peer", |it| it.json["findings"][0]["subject"]["peer"] = json!(null)),
        ("interface", |it| it.json["findings"][0]["subject"]["interface"] = json!(null)),
        ("evidence is empty", |it| it.json["findings"][0]["evidence"] = json!([])),
        ("no packet", |it| it.json["findings"][0]["impact"]["packets"] = json!(0)),
        ("exit status", |it| it.status = 0),
        ("says that peer", |it| it.json["peers"][0]["state"] = json!("unverified")),
    ];
    for (complaint, make) in mistakes {
        let [(victim, mut answer), ..] = right(&plan);
        make(&mut answer);
        let error = judge(&plan, victim, &answer).unwrap_err().to_string();
        assert!(error.contains(complaint), "{complaint}: {error}");
    }
}

#[test]
fn a_finding_where_nothing_is_wrong_is_seen_and_so_is_silence_of_a_node_that_is_cut_off() {
    let plan = plan();
    let [_, (peer, lesser), (third, nothing)] = right(&plan);
    let silent = CheckOutput { json: nothing.json.clone(), ..nothing };
    assert!(judge(&plan, peer, &silent).unwrap_err().to_string().contains("finds nothing"));
    assert!(judge(&plan, third, &lesser).unwrap_err().to_string().contains("tunnel-one-way"));
}

#[test]
fn what_was_not_looked_at_is_not_right_on_any_node() {
    let plan = plan();
    for (node, mut answer) in right(&plan) {
        answer.json["coverage"]["stages"] = json!(false);
        assert!(judge(&plan, node, &answer).unwrap_err().to_string().contains("stages"));
    }
}

/// What a node is judged to say of a fault by its name.
fn judge_of(name: &str, node: usize, intent: Intent, told: Option<&str>) -> Result<Said> {
    let plan = plan();
    let Site { victim, peer, .. } = plan.site;
    let subject = if node == victim { peer } else { victim };
    let is_lesser = told.is_some_and(|code| NAMES_NO_CAUSE.contains(&code));
    let confidence = if is_lesser { "likely" } else { "certain" };
    let findings = told.map_or(json!([]), |code| about(&plan, subject, code, confidence));
    let answer = answer(&plan, node, i32::from(told.is_some()), findings);
    let fault = fault::named(name).unwrap();
    Injected { plan: &plan, fault: &fault, site: plan.site }.judge(node, intent, &answer)
}

#[test]
fn a_victim_that_is_not_told_of_the_nodes_says_a_lesser_code_of_the_peer() {
    let victim = plan().site.victim;
    let of = |intent, code| judge_of("fdb-entry-dead-node-ip", victim, intent, Some(code));
    let (itself, lesser) = ("fdb-entry-dead-node-ip", "peer-node-unreachable-l2");
    assert_eq!(of(Intent::PeersFile, itself).unwrap(), Said::Itself);
    assert_eq!(of(Intent::Nothing, lesser).unwrap(), Said::Lesser);
    assert_eq!(of(Intent::SubnetEnv, lesser).unwrap(), Said::Lesser);
    of(Intent::PeersFile, lesser).unwrap_err();
    of(Intent::Nothing, itself).unwrap_err();
    of(Intent::Nothing, "tunnel-one-way").unwrap_err();
}

#[test]
fn a_node_that_sends_to_a_pod_which_is_cut_off_says_that_it_loses_packets_or_nothing() {
    let peer = plan().site.peer;
    let of = |told| judge_of("pod-veth-detached", peer, Intent::Nothing, told);
    assert_eq!(of(None).unwrap(), Said::Nothing);
    assert_eq!(of(Some("unexplained-loss")).unwrap(), Said::Lesser);
    of(Some("tunnel-one-way")).unwrap_err();
}

/// Both IP versions go by the uplink: who talks to the node misses both.
#[test]
fn a_node_that_is_silent_about_one_of_two_families_is_seen() {
    let plan = Plan::draw(5, &Shape { nodes: Some(3), stack: Stack::Dual, ..Shape::default() });
    let fault = fault::named("uplink-down").unwrap();
    let (victim, peer) = (plan.site.victim, plan.site.peer);
    let findings = |families: &[Family]| {
        let of = |family: &Family| lesser(&plan, victim, *family);
        Value::Array(families.iter().map(of).collect())
    };
    let states: Vec<Value> = ends_of(&plan, peer)
        .map(|(node, key)| json!({"key": key, "state": if node == victim { "broken" } else { "ok" }}))
        .collect();
    let answer = |families: &[Family]| {
        let mut answer = answer(&plan, peer, 1, findings(families));
        answer.json["peers"] = Value::Array(states.clone());
        answer
    };
    let injected = Injected { plan: &plan, fault: &fault, site: plan.site };
    let judge = |families: &[Family]| injected.judge(peer, Intent::PeersFile, &answer(families));
    assert_eq!(judge(plan.families()).unwrap(), Said::Lesser);
    let error = judge(&plan.families()[..1]).unwrap_err().to_string();
    assert!(error.contains("finds 1 of 2"), "{error}");
}

/// The peers of a node in every family, with their keys.
fn ends_of(plan: &Plan, node: usize) -> impl Iterator<Item = (usize, String)> {
    let others = plan.others(node).into_iter();
    others.flat_map(|it| ends(plan, it)).map(|(it, family)| (it, subnet(plan, it, family)))
}

/// What a node says of one that does not answer on the LAN, in a family.
fn lesser(plan: &Plan, peer: usize, family: Family) -> Value {
    let mut finding = about(plan, peer, "peer-node-unreachable-l2", "certain")[0].clone();
    let end = plan.nodes[peer].end(family);
    let (key, overlay) = (end.subnet.to_string(), plan.overlay(family));
    finding["subject"] = json!({"kind": "peer", "key": key, "peer": end.ip.to_string(),
        "cidr": key, "vtep_mac": null, "interface": overlay});
    finding
}

#[test]
fn what_drops_prove_is_likely_where_they_are_not_read() {
    let plan = plan();
    let Site { victim, peer, .. } = plan.site;
    let judge = |name: &str, findings: Value| {
        let fault = fault::named(name).unwrap();
        let mut answer = answer(&plan, victim, i32::from(findings != json!([])), findings);
        answer.json["coverage"]["drops"] = json!("degraded");
        Injected { plan: &plan, fault: &fault, site: plan.site }.judge(
            victim,
            Intent::PeersFile,
            &answer,
        )
    };
    let (input, node) = ("fw-drops-vxlan-input", "fw-drops-pod-to-node");
    assert_eq!(judge(input, about(&plan, peer, input, "likely")).unwrap(), Said::Likely);
    judge(input, about(&plan, peer, input, "certain")).unwrap_err();
    judge(input, about(&plan, peer, "unexplained-loss", "likely")).unwrap_err();
    judge(input, json!([])).unwrap_err();
    assert_eq!(judge(node, json!([])).unwrap(), Said::Nothing);
    judge(node, about(&plan, peer, node, "likely")).unwrap_err();
}
