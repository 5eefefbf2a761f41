//! What the rules say of one node, before anything of it is told.

use super::{
    Diagnosis, RULES,
    case::Case,
    dns_servers, drops,
    ignore::{self, Ignored},
    merge::{self, Cause},
    peers::{self, PeerVerdict},
    rule::Ruling,
    steady, unseen,
    verdict::Coverage,
    vip_backends,
};
use crate::evidence::Evidence;

/// The causes that one node's evidence proves, and who is who in it.
pub(super) struct Judgement<'a> {
    /// What was judged.
    pub(super) evidence: &'a Evidence,
    /// A case for each IP version.
    pub(super) cases: Vec<Case<'a>>,
    /// What is wrong.
    pub(super) causes: Vec<Cause>,
    /// What could not be told.
    pub(super) unseen: Vec<String>,
}

impl<'a> Judgement<'a> {
    /// Has every rule look at the evidence, and leaves one cause for each fault.
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        let cases = Case::all_of(evidence);
        let Ruling { judged, mut unseen } = rule_on_all(&cases);
        let (judged, passing) = steady::steady(judged, evidence);
        unseen.extend(passing);
        let mut causes = merge::merge(judged);
        dns_servers::add_breaks(&mut causes, evidence);
        vip_backends::add_breaks(&mut causes, &cases, evidence);
        Self { evidence, cases, causes, unseen }
    }

    /// Leaves out what the operator does not want to hear of.
    pub(super) fn ignore(&mut self, ignored: &[Ignored]) {
        self.unseen.extend(ignore::take_out(&mut self.causes, ignored));
    }

    /// What is told. `elsewhere` are causes that hit this node's peers as well, and that are told of
    /// another node.
    pub(super) fn conclude(self, elsewhere: &[Cause]) -> Diagnosis {
        let Self { evidence, cases, causes, unseen } = self;
        let felt: Vec<&Cause> = causes.iter().chain(elsewhere).collect();
        let peers: Vec<PeerVerdict> =
            cases.iter().flat_map(|case| peers::verdicts(case, &felt)).collect();
        let drop_causes = drops::causes_of(&cases, &felt);
        let coverage = Coverage::of(evidence, &cases, &peers);
        let unseen = unseen::lines(evidence, &cases, &causes, unseen);
        Diagnosis {
            node_ip: cases.iter().find_map(Case::node_ip),
            pod_cidrs: cases.iter().flat_map(|case| case.topology.own_cidrs.clone()).collect(),
            findings: causes.into_iter().map(|cause| cause.into_finding(&cases)).collect(),
            peers,
            drop_causes,
            coverage,
            unseen,
        }
    }
}

/// What all rules say of each IP version.
pub(super) fn rule_on_all(cases: &[Case<'_>]) -> Ruling {
    let mut all = Ruling::default();
    for (case, rule) in cases.iter().flat_map(|case| RULES.iter().map(move |rule| (case, rule))) {
        let ruling = (rule.judge)(case);
        all.judged.extend(ruling.judged);
        all.unseen.extend(ruling.unseen);
    }
    all
}
