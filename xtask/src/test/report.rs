//! What the tiers found, and whether that is good enough.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::skips::AllowedSkips;

/// One test or check that was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// What one tier found.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: Vec<Skip>,
    /// The names of what failed, as far as they are known.
    pub(crate) failures: Vec<String>,
    /// What was left out because it was not drawn.
    pub(crate) left_out: Option<String>,
}

/// How many tests came out how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

/// The tiers so far.
pub(crate) struct Report {
    allowed: AllowedSkips,
    lines: Vec<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
}

// === impl Tally ===

impl Tally {
    /// Counts a check that passed.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Counts a check that failed.
    pub(crate) fn fail(&mut self, name: &str) {
        self.failed += 1;
        self.failures.push(name.to_owned());
    }

    pub(crate) fn counts(&self) -> Counts {
        let skipped = self.skipped.len();
        Counts { passed: self.passed, failed: self.failed, skipped }
    }

    /// Counts a check that could not be made here.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(Skip { name: name.to_owned(), reason: reason.to_owned() });
    }
}

// === impl Counts ===

impl Counts {
    /// What came after `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            passed: self.passed - earlier.passed,
            failed: self.failed - earlier.failed,
            skipped: self.skipped - earlier.skipped,
        }
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn new(allowed: AllowedSkips) -> Self {
        Self { allowed, lines: Vec::new(), passed: 0, failed: 0, skipped: 0 }
    }

    /// Adds a tier; a skip without leave counts as a failure, and so does a tier without a test or a skip.
    pub(crate) fn add(&mut self, tier: &str, mut tally: Tally) {
        if tally.passed + tally.failed + tally.skipped.len() == 0 {
            tally.fail("nothing was tested");
        }
        let (allowed, refused): (Vec<_>, Vec<_>) =
            tally.skipped.into_iter().partition(|skip| self.allowed.contains(tier, &skip.name));
        let failed = tally.failed + refused.len();
        self.lines.push(format!(
            "{tier:<5} {} passed, {failed} failed, {} skipped",
            tally.passed,
            allowed.len()
        ));
        for name in tally.failures {
            self.lines.push(format!("      failed   {name}"));
        }
        for Skip { name, reason } in &refused {
            let leave = "not in tests/allowed-skips.txt";
            self.lines.push(format!("      failed   {name}: skipped ({reason}), {leave}"));
        }
        for Skip { name, reason } in &allowed {
            self.lines.push(format!("      skipped  {name}: {reason}"));
        }
        self.lines.extend(tally.left_out.map(|words| format!("      left     {words}")));
        self.passed += tally.passed;
        self.failed += failed;
        self.skipped += allowed.len();
    }

    /// Everything that was added, and the sum as the last line.
    pub(crate) fn text(&self) -> String {
        let sum =
            format!("{} passed, {} failed, {} skipped\n", self.passed, self.failed, self.skipped);
        self.lines.iter().map(|line| format!("{line}\n")).chain([sum]).collect()
    }

    /// Success when nothing failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let allowed = "lint advisories needs a network\n";
        Report::new(AllowedSkips::parse(allowed).expect("well-formed"))
    }

    fn tally(skipped: &str) -> Tally {
        let mut tally = Tally::default();
        tally.pass();
        tally.skip(skipped, "no network");
        tally
    }

    #[test]
    fn an_allowed_skip_passes_with_its_reason() {
        let mut report = report();
        report.add("lint", tally("advisories"));
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
        assert!(report.text().contains("skipped  advisories: no network"));
        assert!(report.text().ends_with("\n1 passed, 0 failed, 1 skipped\n"));
    }

    #[test]
    fn what_was_not_drawn_is_said() {
        let mut report = report();
        report.add("lab", Tally { left_out: Some("3 of a list".to_owned()), ..tally("guests") });
        assert!(report.text().contains("\n      left     3 of a list\n"), "{}", report.text());
    }

    #[test]
    fn a_new_skip_fails() {
        let mut report = report();
        report.add("unit", tally("advisories"));
        assert_eq!(report.exit_code(), ExitCode::FAILURE);
        assert!(report.text().contains("not in tests/allowed-skips.txt"));
        assert!(report.text().ends_with("\n1 passed, 1 failed, 0 skipped\n"));
    }

    #[test]
    fn a_tier_that_tests_nothing_fails() {
        let mut report = report();
        report.add("lab", Tally::default());
        assert_eq!(report.exit_code(), ExitCode::FAILURE);
    }
}
