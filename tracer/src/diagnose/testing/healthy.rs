//! That nothing is wrong with a node.

use super::{PASSES, Plan, judge, told};
use crate::{
    diagnose::{Severity, exit_status},
    evidence::Evidence,
};

/// Nothing is found, and the exit status says so; what could not be told.
pub(crate) fn assert_healthy(evidence: &mut Evidence) -> Vec<String> {
    let diagnosis = judge(evidence);
    assert_eq!(told(&diagnosis), [""; 0], "{diagnosis:#?}");
    assert_eq!(exit_status(&diagnosis, evidence, Severity::Warning), 0);
    diagnosis.unseen
}

/// Nothing is found after this change, however much of flannel's intent is known.
pub(crate) fn finds_nothing(change: impl Fn(&mut Evidence)) {
    for pass in PASSES {
        let mut evidence = Plan::of(3, pass).evidence();
        change(&mut evidence);
        assert_healthy(&mut evidence);
    }
}
