//! Several nodes judged together: what no single one can say.
//!
//! Each node's evidence is judged by itself, with what the others' evidence says of its peers for an
//! intent ([`facts`]). Then [`across`] makes one finding of one fault: what one node merely feels is
//! explained by what another proves, or by packets that the one sent and the other never got
//! ([`way`]). No finding comes from here alone: at least one node has to feel something, but that large
//! packets are lost, of which connections that begin with small ones tell nobody ([`large_lost`]).

mod across;
mod facts;
mod large_lost;
mod member;
mod pods;
mod return_route_missing;
mod underlay_drops_vxlan;
mod vips;
mod way;

use std::collections::BTreeSet;

use super::{
    Diagnosis,
    finding::{Finding, Severity},
    ignore::{self, Ignored},
    judgement::Judgement,
    merge::Cause,
    rule::Rule,
    unseen::PEERS_TABLES,
    verdict::{Coverage, exit_status},
};
use crate::evidence::Evidence;

pub use self::member::SameNode;
use self::{across::Told, member::Member};

/// What only several nodes together can say.
pub(super) const RULES: [Rule; 2] = [return_route_missing::RULE, underlay_drops_vxlan::RULE];

/// How many pod networks a line names.
const MOST_NAMED: usize = 5;

/// What the evidence of several nodes says.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// The nodes, in the order of their evidence.
    pub nodes: Vec<JoinedNode>,
    /// What is wrong, of all nodes: most severe first, most certain first.
    pub findings: Vec<JoinedFinding>,
    /// How much was observed: of the nodes together only what each of them observed.
    pub coverage: Coverage,
    /// What could not be checked, and why.
    pub unseen: Vec<String>,
}

/// One of several nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedNode {
    /// Its stable name among the others: its first pod CIDR, else its address, else its name.
    pub key: String,
    /// The words for it, `n1 (192.168.1.162)`.
    pub label: String,
    /// What is said of it and of its peers.
    pub diagnosis: Diagnosis,
}

/// A finding, and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedFinding {
    /// Place of the node in [`Joined::nodes`].
    pub node: usize,
    /// The finding.
    pub finding: Finding,
}

/// Judges the evidence of several nodes together.
///
/// # Errors
/// When two of them are the same node.
pub fn diagnose_joined(evidence: &[Evidence], ignored: &[Ignored]) -> Result<Joined, SameNode> {
    let members = member::members(evidence)?;
    let (informed, mut unseen) = facts::share(evidence, &members);
    let mut judgements: Vec<Judgement<'_>> = informed.iter().map(Judgement::of).collect();
    let (mut told, of_pairs) = across::merge(&members, &mut judgements);
    unseen.extend(of_pairs);
    unseen.extend(vips::take_out_answered(&mut told, evidence, &members));
    told.retain(|told| {
        let mut one = vec![told.cause.clone()];
        unseen.extend(ignore::take_out(&mut one, ignored));
        !one.is_empty()
    });
    Ok(conclude(&members, judgements, &told, unseen))
}

/// Exit status of `check` for several nodes: 1 for findings at or above `fail_on`, whatever was
/// observed; 2 when one of them could not be observed or judged; else 0.
#[must_use]
pub fn exit_status_joined(joined: &Joined, evidence: &[Evidence], fail_on: Severity) -> u8 {
    let each = joined.nodes.iter().zip(evidence);
    let statuses: Vec<u8> =
        each.map(|(node, it)| exit_status(&node.diagnosis, it, fail_on)).collect();
    if statuses.contains(&1) { 1 } else { statuses.into_iter().max().unwrap_or_default() }
}

fn conclude(
    members: &[Member],
    judgements: Vec<Judgement<'_>>,
    told: &[Told],
    unseen: Vec<String>,
) -> Joined {
    let finding = |told: &Told| JoinedFinding {
        node: told.node,
        finding: told.cause.clone().into_finding(&judgements[told.node].cases),
    };
    let findings = told.iter().map(finding).collect();
    let mut nodes = Vec::new();
    for (index, (member, mut judgement)) in members.iter().zip(judgements).enumerate() {
        let own = told.iter().filter(|told| told.node == index);
        judgement.causes = own.map(|told| told.cause.clone()).collect();
        let felt = told.iter().flat_map(|told| &told.felt);
        let felt: Vec<Cause> =
            felt.filter(|(node, _)| *node == index).map(|(_, cause)| cause.clone()).collect();
        let diagnosis = judgement.conclude(&felt);
        nodes.push(JoinedNode { key: member.key.clone(), label: member.label.clone(), diagnosis });
    }
    let coverage = together(&nodes);
    let unseen = lines(&nodes, unseen);
    Joined { nodes, findings, coverage, unseen }
}

/// What each of them observed; peers are those of all.
fn together(nodes: &[JoinedNode]) -> Coverage {
    let all = |has: fn(&Coverage) -> bool| nodes.iter().all(|node| has(&node.diagnosis.coverage));
    let sum = |of: fn(&Coverage) -> usize| nodes.iter().map(|it| of(&it.diagnosis.coverage)).sum();
    Coverage {
        tables: all(|it| it.tables),
        judged: all(|it| it.judged),
        stages: all(|it| it.stages),
        peers_total: sum(|it| it.peers_total),
        peers_verified: sum(|it| it.peers_verified),
        peers_unverified: sum(|it| it.peers_unverified),
    }
}

/// What all nodes say is told once, what one says with its name.
fn lines(nodes: &[JoinedNode], mut lines: Vec<String>) -> Vec<String> {
    let of = |node: &JoinedNode| -> Vec<String> {
        let said = node.diagnosis.unseen.iter().filter(|line| *line != PEERS_TABLES);
        said.cloned().collect()
    };
    let all_say = |line: &String| nodes.iter().all(|node| node.diagnosis.unseen.contains(line));
    for node in nodes {
        let own = of(node).into_iter().filter(|line| !all_say(line));
        lines.extend(own.map(|line| format!("{}: {line}", node.label)));
    }
    lines.extend(nodes.first().map(of).unwrap_or_default().into_iter().filter(all_say));
    lines.extend(without_evidence(nodes));
    lines
}

/// The peers of which there is no evidence.
fn without_evidence(nodes: &[JoinedNode]) -> Option<String> {
    let own: BTreeSet<_> = nodes.iter().flat_map(|it| &it.diagnosis.pod_cidrs).collect();
    let peers = nodes.iter().flat_map(|it| &it.diagnosis.peers);
    let absent: BTreeSet<_> = peers.map(|it| it.cidr).filter(|it| !own.contains(it)).collect();
    let named: Vec<String> = absent.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    let more = absent.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!absent.is_empty()).then(|| {
        format!(
            "the own tables of {}{more}: run check there and add its evidence",
            named.join(", ")
        )
    })
}
