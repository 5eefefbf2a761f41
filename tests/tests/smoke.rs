//! What has to hold on every kernel, in few minutes: what the kernel offers is used, a healthy
//! lab and what resembles a fault are healthy, and every fault is told once, on the node that has
//! it and on the others. Every case is a cell of the table that `cargo xtask vm` prints.
//!
//! Labs are the same each time, or, where cases are drawn, of the seed of these: now and then they
//! speak IPv6, or both. Cases that were shown already are left out, and the others are played as they
//! are beside them.
//!
//! Two faults that concern different nodes are injected at the same time: each node must tell its
//! own and nothing of the other.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Command;

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;
use tracer_tests::{
    capabilities::{FEATURES, Kernel},
    cell::{Cell, Outcome},
    expect::{Injected, Said},
    fault::{Fault, Reach},
    healthy,
    lab::{LOCK_WAIT, Lab},
    lookalike::LookAlike,
    loss::Loss,
    matrix::{Attach, Case},
    plan::{Family, Plan, Site, Stack},
    sample::{CAPABILITIES, HEALTHY, OF_GUEST, Sample, is_known},
    seed::{MAX_NODES, Shape},
    tracer::{CheckOutput, DNS_TIMEOUT, Intent, binary},
};

/// How long each check looks. Longer than in the other suites: the guest may be interpreted, and
/// a one-way tunnel is told by the packets of the window.
const WINDOW: &str = "5s";
/// The same for faults of DNS servers: some queries of the window have to be too late in it.
const OF_DNS: [&str; 4] = ["--duration", "10s", DNS_TIMEOUT, "3s"];
/// Nodes of the lab with the faults: two pairs that have nothing to do with each other.
const NODES: usize = 4;

/// A fault and where it is.
#[derive(Clone, Copy)]
struct Placed<'a> {
    fault: &'a Fault,
    site: Site,
}

fn lab(seed: u64, nodes: usize, stack: Stack) -> Lab {
    let shape = Shape { nodes: Some(nodes), stack, ..Shape::default() };
    Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap()
}

/// Says a cell, and gives what is wrong with it.
fn say(case: &str, outcome: Outcome) -> Option<String> {
    let cell = Cell { case: case.to_owned(), outcome };
    cell.say();
    match cell.outcome {
        Outcome::Wrong(why) => Some(format!("{case}: {why}\n")),
        Outcome::Right | Outcome::Degraded(_) => None,
    }
}

/// The cell of a case whose answers were all judged.
fn outcome(wrong: &[String]) -> Outcome {
    if wrong.is_empty() { Outcome::Right } else { Outcome::Wrong(wrong.join("; ")) }
}

/// One run on each of `nodes`, told this much, attached the preferred way.
fn one_each(nodes: &[usize], intent: Intent) -> Vec<Case> {
    let best = *Attach::on_this_kernel().first().unwrap();
    let mut cases = Case::all(nodes);
    cases.retain(|case| case.intent == intent && case.attach == best);
    cases
}

/// Runs all cases; a line for each answer that does not please `judge`.
fn complaints(
    lab: &Lab,
    cases: &[Case],
    judge: impl Fn(&Case, &CheckOutput) -> Result<()>,
) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let answers = lab.check_cases(cases, WINDOW, folder.path());
    assert!(!cases.is_empty());
    let wrong = cases.iter().zip(answers).filter_map(|(case, answer)| {
        let error = answer.and_then(|answer| judge(case, &answer)).err()?;
        Some(format!("seed {}, {case}: {error:#}", lab.plan().seed))
    });
    wrong.collect()
}

#[test]
fn capabilities_are_those_of_this_kernel() {
    if is_known(CAPABILITIES) {
        return;
    }
    let output = Command::new(binary().unwrap())
        .args(["capabilities", "--format", "json"])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kernel = Kernel::this().unwrap();
    let wrong = kernel.complaints(&answer, output.status.code());
    let lesser = FEATURES.map(|it| (it, kernel.state(it))).into_iter().filter(|it| it.1 != "on");
    let lesser: Vec<String> = lesser.map(|(name, state)| format!("{name} ({state})")).collect();
    let outcome = match outcome(&wrong) {
        Outcome::Right if !lesser.is_empty() => Outcome::Degraded(lesser.join(", ")),
        other => other,
    };
    assert_eq!(say(CAPABILITIES, outcome), None, "\n{answer}");
}

#[test]
fn a_healthy_lab_is_healthy_by_every_way_to_attach() {
    if is_known(HEALTHY) {
        return;
    }
    let sample = Sample::of_environment(OF_GUEST).unwrap();
    let lab = lab(sample.lab_seed(901), 2, sample.stack());
    let nodes = lab.plan().all_nodes();
    let _traffic = lab.traffic_all_pairs();
    let mut cases = Case::all(&nodes);
    cases.retain(|case| case.intent == Intent::SubnetEnv);
    let wrong = complaints(&lab, &cases, |case, answer| {
        healthy::judge(lab.plan(), &nodes, case.node, answer)?;
        let attached = &answer.json["capabilities"];
        ensure!(
            attached.to_string().contains(case.attach.name()),
            "attached otherwise: {attached}"
        );
        Ok(())
    });
    assert_eq!(say(HEALTHY, outcome(&wrong)), None);
}

#[test]
fn what_resembles_a_fault_is_not_told() {
    let sample = Sample::of_environment(OF_GUEST).unwrap();
    let wrong: String = sample
        .look_alikes
        .iter()
        .enumerate()
        .filter(|(_, it)| !is_known(it.name))
        .filter_map(|(number, it)| {
            say(it.name, look_alike(it, sample.lab_seed(910 + number as u64)))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn look_alike(look_alike: &LookAlike, seed: u64) -> Outcome {
    let lab = Lab::up(smallest(look_alike, seed), LOCK_WAIT).unwrap();
    let members = (look_alike.members)(lab.plan());
    let _own = lab.set_up(look_alike).unwrap();
    let _traffic = lab.traffic_among(&members);
    let wrong = complaints(&lab, &one_each(&members, Intent::SubnetEnv), |case, answer| {
        healthy::judge_look_alike(look_alike, lab.plan(), case.node, answer)
    });
    outcome(&wrong)
}

/// The smallest lab of the look-alike's shape that has two members, if there is one.
fn smallest(look_alike: &LookAlike, seed: u64) -> Plan {
    let shape = (look_alike.shape)();
    let least = shape.min_nodes;
    let plan =
        |nodes| Plan::draw(seed, &Shape { nodes: shape.nodes.or(Some(nodes)), ..shape.clone() });
    let mut plans = (least..=MAX_NODES).map(plan);
    plans.find(|plan| (look_alike.members)(plan).len() > 1).unwrap_or_else(|| plan(least))
}

#[test]
fn every_fault_is_told() {
    let sample = Sample::of_environment(OF_GUEST).unwrap();
    let (seed, stack) = (sample.lab_seed(902), sample.stack());
    // Few do not exist in IPv6. They have a lab of their own where the sample's speaks it.
    let exists = |fault: &Fault| stack == Stack::V4 || fault.families.contains(&Family::V6);
    let (own, others): (Vec<Fault>, Vec<Fault>) = sample.faults.into_iter().partition(exists);
    let wrong = wrong_in_lab(seed, stack, &own) + &wrong_in_lab(seed, Stack::V4, &others);
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Plays faults in a lab; a line for each that was not told.
fn wrong_in_lab(seed: u64, stack: Stack, faults: &[Fault]) -> String {
    let mut wrong = String::new();
    if faults.is_empty() {
        return wrong;
    }
    let lab = lab(seed, NODES, stack);
    for round in rounds(lab.plan(), faults) {
        if round.iter().all(|placed| is_known(placed.fault.name)) {
            continue;
        }
        let outcomes = play(&lab, &round);
        // A case that leaves a broken lab behind has shown nothing.
        lab.wait_connected(&lab.plan().all_nodes()).unwrap();
        for (placed, outcome) in round.iter().zip(outcomes) {
            wrong.extend(say(placed.fault.name, outcome));
        }
    }
    wrong
}

/// Faults that concern two nodes go in pairs, one to each half of the lab; the others go alone.
fn rounds<'a>(plan: &Plan, faults: &'a [Fault]) -> Vec<Vec<Placed<'a>>> {
    let near = plan.site;
    let mut others = plan.all_nodes();
    others.retain(|node| ![near.victim, near.peer].contains(node));
    let far = Site { victim: others[0], peer: others[1], ..near };
    // What ails one pod is told by whoever calls it.
    let is_near =
        |fault: &&Fault| fault.reach != Reach::OnePod && concerned(plan, fault, near).len() <= 2;
    let (pairs, alone): (Vec<&Fault>, Vec<&Fault>) = faults.iter().partition(is_near);
    let place = |(fault, site)| Placed { fault, site };
    let of_pairs =
        pairs.chunks(2).map(|two| two.iter().copied().zip([near, far]).map(place).collect());
    of_pairs.chain(alone.into_iter().map(|fault| vec![place((fault, near))])).collect()
}

/// The victim and the nodes that lose packets with it.
fn concerned(plan: &Plan, fault: &Fault, site: Site) -> Vec<usize> {
    let mut nodes = fault.affected(plan, site);
    nodes.push(site.victim);
    nodes
}

/// Injects the faults of a round, has the two nodes of each looked at, and heals them.
fn play(lab: &Lab, round: &[Placed]) -> Vec<Outcome> {
    let plan = lab.plan();
    // Anew for each round: generators stop by themselves after a few minutes.
    let _traffic = lab.traffic_all_pairs();
    let injections: Vec<_> =
        round.iter().map(|placed| lab.inject(placed.fault, placed.site).unwrap()).collect();
    let nodes: Vec<usize> = round.iter().flat_map(|it| [it.site.victim, it.site.peer]).collect();
    // flannel's own file, and the peers' nodes where nothing less proves a fault.
    let needs_peers = round.iter().any(|placed| !placed.fault.without_peers.is_empty());
    let intent = if needs_peers { Intent::PeersFile } else { Intent::SubnetEnv };
    let cases = one_each(&nodes, intent);
    let folder = tempfile::tempdir().unwrap();
    let is_of_dns = round.iter().any(|placed| placed.fault.code.starts_with("dns-"));
    let options = if is_of_dns { &OF_DNS[..] } else { &["--duration", WINDOW] };
    let answers = lab.check_cases_with(&cases, options, folder.path());
    injections.into_iter().for_each(|injection| injection.heal().unwrap());
    let answers: Vec<(Case, Result<CheckOutput>)> = cases.into_iter().zip(answers).collect();
    round.iter().for_each(|placed| say_loss(*placed, &answers));
    round.iter().map(|placed| judge(plan, round, *placed, &answers)).collect()
}

/// Says where the packets of a fault were lost, as the nodes of its site tell it.
fn say_loss(Placed { fault, site }: Placed, answers: &[(Case, Result<CheckOutput>)]) {
    let of = |node| answers.iter().find(|(case, _)| case.node == node)?.1.as_ref().ok();
    let answers: Vec<&Value> =
        [site.victim, site.peer].into_iter().filter_map(of).map(|answer| &answer.json).collect();
    Loss::of(fault.name, fault.code, &answers).say();
}

/// Holds the answers against one of a round's faults, but for those of the other's nodes.
fn judge(
    plan: &Plan,
    round: &[Placed],
    own: Placed,
    answers: &[(Case, Result<CheckOutput>)],
) -> Outcome {
    let Placed { fault, site } = own;
    let of_another = |node: usize| {
        let others = round.iter().filter(|other| other.site != site);
        others.into_iter().any(|other| concerned(plan, other.fault, other.site).contains(&node))
    };
    let (mut wrong, mut lesser) = (Vec::new(), None);
    for (case, answer) in answers.iter().filter(|(case, _)| !of_another(case.node)) {
        let name = &plan.nodes[case.node].name;
        let injected = Injected { plan, fault, site };
        let judged = match answer {
            Ok(answer) => injected.judge(case.node, case.intent, answer),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        match judged {
            Ok(said) if case.node == site.victim && said != Said::Itself => {
                lesser = Some(format!("{name} says {said}"));
            }
            Ok(_) => {}
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
    }
    match lesser {
        Some(lesser) if wrong.is_empty() => return Outcome::Degraded(lesser),
        _ if !wrong.is_empty() => wrong.push(fault.story(plan, site)),
        _ => {}
    }
    outcome(&wrong)
}
