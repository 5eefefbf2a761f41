//! How much was observed, and the exit status that follows.

use super::{
    Diagnosis,
    case::Case,
    finding::Severity,
    peers::{PeerState, PeerVerdict},
};
use crate::evidence::Evidence;

/// Something wrong was found.
const FOUND: u8 = 1;
/// Nothing wrong was found, but not everything was observed and judged.
const NOT_OBSERVED: u8 = 2;

/// How much was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The tables were read.
    pub tables: bool,
    /// The rules could judge them; `unseen` says why not.
    pub judged: bool,
    /// Every hook whose device exists was attached, every uplink has one, and the window is not
    /// empty.
    pub stages: bool,
    /// All peers.
    pub peers_total: usize,
    /// Those with packets both ways and no finding.
    pub peers_verified: usize,
    /// Those without packets.
    pub peers_unverified: usize,
}

impl Coverage {
    /// The coverage of evidence, with a case for each IP version.
    #[must_use]
    pub(super) fn of(evidence: &Evidence, cases: &[Case<'_>], peers: &[PeerVerdict]) -> Self {
        let in_state = |state| peers.iter().filter(|peer| peer.state == state).count();
        Self {
            tables: evidence.tables.is_some(),
            judged: evidence.tables.is_some()
                && cases.iter().all(|case| case.not_judged().is_none()),
            stages: stages_observed(evidence),
            peers_total: peers.len(),
            peers_verified: in_state(PeerState::Ok),
            peers_unverified: in_state(PeerState::Unverified),
        }
    }
}

/// Exit status of `check`: 1 for findings at or above `fail_on`, whatever was observed; 2 when
/// nothing was found but something that was asked for could not be observed or judged; else 0.
#[must_use]
pub fn exit_status(diagnosis: &Diagnosis, evidence: &Evidence, fail_on: Severity) -> u8 {
    // An info never changes the exit status.
    let threshold = fail_on.max(Severity::Warning);
    if diagnosis.findings.iter().any(|finding| finding.severity >= threshold) {
        return FOUND;
    }
    let coverage = &diagnosis.coverage;
    let complete = coverage.judged && (coverage.stages || evidence.tables_only);
    if complete { 0 } else { NOT_OBSERVED }
}

fn stages_observed(evidence: &Evidence) -> bool {
    let exists =
        |index: u32| evidence.tables.as_ref().is_none_or(|tables| tables.link(index).is_some());
    let mut hooks = evidence.hooks.iter().filter(|hook| exists(hook.ifindex)).peekable();
    let has_hook = |index: &u32| evidence.hooks.iter().any(|hook| hook.ifindex == *index);
    evidence.window.seconds > 0.0
        && evidence.roles.uplinks.iter().all(has_hook)
        && evidence.traffic.is_some()
        && hooks.peek().is_some()
        && hooks.all(|hook| hook.attached)
}
