//! One fault, one finding: what a finding of higher rank explains becomes an entry of its `breaks`.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    case::Case,
    finding::Finding,
    impact,
    rule::{Effect, Judged},
};

/// A finding that nothing else explains.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) judged: Judged,
    /// The effects that are counted as its impact: no effect is counted twice.
    pub(super) accounts_for: BTreeSet<Effect>,
}

impl Cause {
    /// The finding with its impact, on the pods of all IP versions.
    pub(super) fn into_finding(self, cases: &[Case<'_>]) -> Finding {
        let impact = impact::of(cases, &self.accounts_for);
        Finding { impact, ..self.judged.finding }
    }
}

/// Leaves the causes, in the order in which they are told. The order of `judged` has no influence.
pub(super) fn merge(mut judged: Vec<Judged>) -> Vec<Cause> {
    judged.sort_by_key(|one| (Reverse(one.rank), place(&one.finding)));
    let mut causes: Vec<Cause> = Vec::new();
    for one in judged {
        match causes.iter_mut().find(|cause| explains(&cause.judged, &one)) {
            Some(cause) => absorb(cause, one),
            None => add(&mut causes, one),
        }
    }
    account(&mut causes);
    causes.sort_by_key(order);
    causes
}

/// The order in which causes are told: most severe first, then most certain.
pub(super) fn order(cause: &Cause) -> impl Ord + use<> {
    let finding = &cause.judged.finding;
    let rank = Reverse(cause.judged.rank);
    (Reverse(finding.severity), Reverse(finding.confidence), rank, place(finding))
}

/// The place among equals: by code, then by subject.
fn place(finding: &Finding) -> (&'static str, Option<ipnet::IpNet>, String, String) {
    let subject = &finding.subject;
    (finding.code, subject.cidr, subject.key.clone(), finding.title.clone())
}

fn explains(cause: &Judged, one: &Judged) -> bool {
    let is_explained = |effect| cause.explains.contains(effect) || follows(&cause.explains, effect);
    cause.rank > one.rank && !one.supports.is_empty() && one.supports.iter().all(is_explained)
}

/// Whether an effect follows from what becomes of other packets of the same connections.
fn follows(effects: &BTreeSet<Effect>, effect: &Effect) -> bool {
    let Effect::Invalid(cidr) = effect else { return false };
    let is_loss =
        |it: &Effect| matches!(it, Effect::Loss(of, _) | Effect::Silence(of) if of == cidr);
    effects.iter().any(is_loss)
}

fn absorb(cause: &mut Cause, one: Judged) {
    let breaks = &mut cause.judged.finding.breaks;
    if !breaks.contains(&one.as_break) {
        breaks.push(one.as_break);
    }
    cause.judged.explains.extend(one.explains);
}

/// One code and subject is one finding, also when several places show it.
fn add(causes: &mut Vec<Cause>, one: Judged) {
    let same = |cause: &&mut Cause| {
        let finding = &cause.judged.finding;
        finding.code == one.finding.code && finding.subject.key == one.finding.subject.key
    };
    let Some(cause) = causes.iter_mut().find(same) else {
        causes.push(Cause { judged: one, accounts_for: BTreeSet::new() });
        return;
    };
    add_new(&mut cause.judged.finding.evidence, one.finding.evidence);
    add_new(&mut cause.judged.finding.remedy, one.finding.remedy);
    cause.judged.supports.extend(one.supports);
    cause.judged.explains.extend(one.explains);
}

/// Adds the lines that are not there yet.
pub(super) fn add_new(lines: &mut Vec<String>, more: Vec<String>) {
    for line in more {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
}

/// Each effect counts for the first cause that explains it: the one of highest rank.
fn account(causes: &mut [Cause]) {
    let mut taken = BTreeSet::new();
    for cause in causes {
        cause.accounts_for = cause.judged.explains.difference(&taken).copied().collect();
        taken.extend(&cause.accounts_for);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            finding::{Confidence, Impact, Precision, Severity, Since, Subject, SubjectKind},
            rule::Rank,
        },
        *,
    };
    use crate::evidence::StagePair;

    fn cidr() -> ipnet::IpNet {
        "10.244.3.0/24".parse().unwrap()
    }

    fn loss(pair: StagePair) -> Effect {
        Effect::Loss(cidr(), pair)
    }

    fn judged(code: &'static str, rank: Rank, supports: &[Effect], explains: &[Effect]) -> Judged {
        let since = Since {
            time: None,
            not_before: None,
            not_after: None,
            precision: Precision::BeforeStart,
            changed_by: None,
        };
        let subject = Subject {
            kind: SubjectKind::Peer,
            key: cidr().to_string(),
            peer: None,
            cidr: Some(cidr()),
            vtep_mac: None,
            interface: None,
            address: None,
        };
        Judged {
            finding: Finding {
                code,
                severity: Severity::Critical,
                confidence: Confidence::Certain,
                title: code.to_owned(),
                subject,
                since,
                impact: Impact::default(),
                breaks: Vec::new(),
                evidence: vec![format!("evidence of {code}")],
                remedy: vec![format!("remedy of {code}")],
            },
            rank,
            supports: supports.iter().copied().collect(),
            explains: explains.iter().copied().collect(),
            as_break: format!("break {code}"),
        }
    }

    fn codes(causes: &[Cause]) -> Vec<&str> {
        causes.iter().map(|cause| cause.judged.finding.code).collect()
    }

    #[test]
    fn a_symptom_becomes_a_break_of_its_cause() {
        let out = loss(StagePair::OverlayToWire);
        let causes = merge(vec![
            judged("symptom", Rank::Live, &[out], &[out]),
            judged("cause", Rank::Entry, &[], &[out]),
        ]);
        assert_eq!(codes(&causes), ["cause"]);
        assert_eq!(causes[0].judged.finding.breaks, ["break symptom"]);
    }

    #[test]
    fn a_symptom_with_one_unexplained_support_stays() {
        let (out, inward) = (loss(StagePair::OverlayToWire), loss(StagePair::WireToOverlay));
        let causes = merge(vec![
            judged("symptom", Rank::Live, &[out, inward], &[out, inward]),
            judged("cause", Rank::Entry, &[], &[out]),
        ]);
        assert_eq!(codes(&causes), ["cause", "symptom"]);
        assert_eq!(causes[1].accounts_for, BTreeSet::from([inward]));
    }

    #[test]
    fn equal_rank_explains_nothing() {
        let out = loss(StagePair::OverlayToWire);
        let causes = merge(vec![
            judged("one", Rank::Entry, &[out], &[out]),
            judged("other", Rank::Entry, &[out], &[out]),
        ]);
        assert_eq!(codes(&causes), ["one", "other"]);
        assert!(causes[1].accounts_for.is_empty(), "no loss is explained twice");
    }

    #[test]
    fn what_a_break_explains_its_cause_explains() {
        let (out, silence) = (loss(StagePair::OverlayToWire), Effect::Silence(cidr()));
        let causes = merge(vec![
            judged("last", Rank::Inferred, &[silence], &[silence]),
            judged("middle", Rank::Live, &[out], &[out, silence]),
            judged("first", Rank::Table, &[], &[out]),
        ]);
        assert_eq!(codes(&causes), ["first"]);
        assert_eq!(causes[0].judged.finding.breaks, ["break middle", "break last"]);
    }

    #[test]
    fn one_code_and_subject_is_one_finding() {
        let (out, inward) = (loss(StagePair::OverlayToWire), loss(StagePair::WireToOverlay));
        let mut second = judged("loss", Rank::Live, &[inward], &[inward]);
        second.finding.evidence.push("seen inward".to_owned());
        let causes = merge(vec![judged("loss", Rank::Live, &[out], &[out]), second]);
        assert_eq!(codes(&causes), ["loss"]);
        let finding = &causes[0].judged.finding;
        assert_eq!(finding.evidence, ["evidence of loss", "seen inward"], "each line once");
        assert_eq!(finding.remedy, ["remedy of loss"]);
        assert_eq!(causes[0].accounts_for, BTreeSet::from([out, inward]));
    }
}
