//! Only what holds is judged: flannel writes a peer's entries one after the other, peers join and
//! leave, and the tables are read while they do. So they are read twice, before the window and
//! after it, and a finding stands when both say it.

use std::collections::BTreeSet;

use super::{case::Case, judgement::rule_on_all, rule::Judged};
use crate::{evidence::Evidence, topology::detect_roles};

/// The findings that the tables after the window confirm, and a line for those that they do not.
/// Tables that were read once confirm everything.
pub(super) fn steady(judged: Vec<Judged>, evidence: &Evidence) -> (Vec<Judged>, Vec<String>) {
    let Some(after) = evidence.tables_after.as_ref().filter(|_| !judged.is_empty()) else {
        return (judged, Vec::new());
    };
    let roles = detect_roles(after, &evidence.intent).unwrap_or_else(|_| evidence.roles.clone());
    let later = Evidence { tables: Some(after.clone()), roles, ..evidence.clone() };
    let confirmed: BTreeSet<(&str, String)> =
        rule_on_all(&Case::all_of(&later)).judged.iter().map(name).collect();
    let (steady, passing): (Vec<_>, Vec<_>) =
        judged.into_iter().partition(|judged| confirmed.contains(&name(judged)));
    let lines = passing.iter().map(|judged| {
        let (code, subject) = name(judged);
        format!("{code} of {subject}: it did not hold until the end of the check; check again")
    });
    (steady, lines.collect())
}

/// Code and subject.
fn name(judged: &Judged) -> (&'static str, String) {
    (judged.finding.code, judged.finding.subject.key.clone())
}

#[cfg(test)]
mod tests {
    use super::super::{
        diagnose,
        testing::{Pass, Plan},
    };

    #[test]
    fn a_fault_that_is_healed_meanwhile_is_no_finding_and_one_that_stays_is() {
        let plan = Plan::of(3, Pass::Tables);
        let healthy = plan.evidence();
        let mut broken = healthy.clone();
        let tables = broken.tables.as_mut().unwrap();
        tables.fdb.clear();
        broken.tables_after = healthy.tables.clone();
        let diagnosis = diagnose(&broken);
        assert_eq!(diagnosis.findings, []);
        assert!(diagnosis.unseen.iter().any(|line| line.contains("did not hold")));
        broken.tables_after = broken.tables.clone();
        assert!(!diagnose(&broken).findings.is_empty());
    }
}
