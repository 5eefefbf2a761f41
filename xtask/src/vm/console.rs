//! What a guest's console says, and the verdict that follows. Pure: bytes in, verdict out.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracer_tests::cell::{Cell, Outcome as Cased, is_suite};
use tracer_tests::effort::Effort;
use tracer_tests::loss::Loss;

/// Lines of the console that are shown with a failure.
const TAIL: usize = 25;

/// How the guest ended, as its owner saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// QEMU ended by itself.
    Exit,
    /// It said nothing for too long, and was ended.
    Silence,
    /// It took too long altogether, and was ended.
    Overtime,
}

/// What a guest has to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// How many suites it is to run.
    pub(super) suites: usize,
    /// The cases of which each must have a cell.
    pub(super) cases: Vec<String>,
}

/// What became of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    /// What it said of single cases, in its order.
    pub(super) cells: Vec<Cell>,
    /// How many tests of each suite passed, by the suite's case, in the same order.
    pub(super) passed: Vec<(String, usize)>,
    /// What its verifier took for the programs; older records have none.
    #[serde(default)]
    pub(super) efforts: Vec<Effort>,
    /// Where the packets of its faults were lost; older records have none.
    #[serde(default)]
    pub(super) losses: Vec<Loss>,
    /// The cases of which it said nothing.
    pub(super) missing: Vec<String>,
    /// `uname -r` in the guest, once it has booted.
    pub(super) release: Option<String>,
    /// The last lines of the console.
    pub(super) tail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The guest said how its suites ended.
    Ran { suites: usize, passed: usize, failed: usize, expected: usize },
    /// The kernel panicked.
    Panicked(String),
    /// It booted, and before its end said nothing any more.
    Hung,
    /// It was still running when its time was over.
    Overtime,
    /// It booted and ended without a word on its suites.
    Lost,
    /// Its init never spoke.
    NeverBooted,
}

/// Judges what the console said.
pub(super) fn judge(console: &str, nonce: &str, expected: &Expected, ending: Ending) -> Verdict {
    let said = |what: &str| {
        let head = format!("vm {nonce} {what} ");
        console.lines().find_map(|line| line.trim_end().strip_prefix(&head).map(str::to_owned))
    };
    let release = said("booted");
    // A kernel that is unwell after its suites is no better than one that is before.
    let ran = said("suites").and_then(|counts| ran(&counts, expected.suites));
    let outcome = match (panic(console), ran, ending) {
        (Some(why), ..) => Outcome::Panicked(why),
        (None, Some(ran), Ending::Exit) => ran,
        (None, ..) if release.is_none() => Outcome::NeverBooted,
        (None, None, Ending::Exit) => Outcome::Lost,
        (None, _, Ending::Silence) => Outcome::Hung,
        (None, _, Ending::Overtime) => Outcome::Overtime,
    };
    let cells: Vec<Cell> = console.lines().filter_map(|line| Cell::read(line, nonce)).collect();
    let is_missing = |case: &&String| !cells.iter().any(|cell| cell.case == **case);
    let missing = expected.cases.iter().filter(is_missing).cloned().collect();
    let passed = passed_by_suite(console, nonce);
    let efforts = console.lines().filter_map(|line| Effort::read(line, nonce)).collect();
    let losses = console.lines().filter_map(|line| Loss::read(line, nonce)).collect();
    Verdict { outcome, cells, passed, efforts, losses, missing, release, tail: tail(console) }
}

/// What libtest said of a suite before the guest said its cell.
fn passed_by_suite(console: &str, nonce: &str) -> Vec<(String, usize)> {
    let (mut all, mut last) = (Vec::new(), 0);
    for line in console.lines() {
        if let Some(rest) = line.trim_end().strip_prefix("test result: ok. ") {
            last = rest.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        } else if let Some(cell) = Cell::read(line, nonce).filter(|cell| is_suite(&cell.case)) {
            all.push((cell.case, std::mem::take(&mut last)));
        }
    }
    all
}

/// `N passed N failed N`, after the word `suites`.
fn ran(counts: &str, expected: usize) -> Option<Outcome> {
    let words: Vec<&str> = counts.split(' ').collect();
    let [suites, "passed", passed, "failed", failed] = words[..] else { return None };
    let (suites, passed, failed) =
        (suites.parse().ok()?, passed.parse().ok()?, failed.parse().ok()?);
    Some(Outcome::Ran { suites, passed, failed, expected })
}

fn panic(console: &str) -> Option<String> {
    let line = console.lines().find(|line| line.contains("Kernel panic - not syncing"))?;
    line.split_once("not syncing: ").map(|(_, why)| why.trim().to_owned())
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

// === impl Verdict ===

impl Verdict {
    /// Whether all suites ran, something passed, nothing failed, and every case was right.
    pub(super) fn is_good(&self) -> bool {
        self.suites_passed() && self.missing.is_empty() && self.wrong().next().is_none()
    }

    /// Whether all suites ran, something passed, and nothing failed.
    fn suites_passed(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Ran { suites, passed, failed: 0, expected }
                if suites == expected && passed > 0
        )
    }

    /// The case's cell; one that is wrong, should it have been said twice.
    pub(super) fn cell(&self, case: &str) -> Option<&Cell> {
        let mut own = self.cells.iter().filter(|cell| cell.case == case);
        self.wrong().find(|cell| cell.case == case).or_else(|| own.next())
    }

    /// Whether the case is wrong or missing.
    pub(super) fn is_wrong(&self, case: &str) -> bool {
        self.cell(case).is_none_or(|cell| matches!(cell.outcome, Cased::Wrong(_)))
    }

    /// Only the suites and cases that were right: as if there had been no others. Of a guest that
    /// died the last suite is in doubt.
    pub(super) fn right(&self) -> Self {
        let mut right = Self { missing: Vec::new(), ..self.clone() };
        right.cells.retain(|cell| !self.is_wrong(&cell.case));
        if !matches!(self.outcome, Outcome::Ran { .. })
            && let Some(last) = right.cells.iter().rposition(|cell| is_suite(&cell.case))
        {
            right.cells.remove(last);
        }
        right.passed.retain(|(suite, _)| right.cells.iter().any(|cell| cell.case == *suite));
        right.losses.retain(|loss| right.cells.iter().any(|cell| cell.case == loss.case));
        let (suites, passed) = (right.passed.len(), right.passed.iter().map(|it| it.1).sum());
        right.outcome = Outcome::Ran { suites, passed, failed: 0, expected: suites };
        right
    }

    /// Only what it said of these cases.
    pub(super) fn of(mut self, cases: &[String]) -> Self {
        self.cells.retain(|cell| cases.contains(&cell.case));
        self.right()
    }

    /// Together with what an earlier guest has shown to be right, and this one did not show again.
    pub(super) fn after(self, earlier: &Self) -> Self {
        let mut earlier = earlier.clone();
        earlier.cells.retain(|cell| self.cell(&cell.case).is_none());
        earlier.passed.retain(|(suite, _)| self.cell(suite).is_none());
        earlier.losses.retain(|loss| self.cell(&loss.case).is_none());
        let before = (earlier.passed.len(), earlier.passed.iter().map(|it| it.1).sum::<usize>());
        let outcome = match self.outcome {
            Outcome::Ran { suites, passed, failed, expected } => Outcome::Ran {
                suites: before.0 + suites,
                passed: before.1 + passed,
                failed,
                expected: before.0 + expected,
            },
            died => died,
        };
        let cells = [earlier.cells, self.cells].concat();
        let passed = [earlier.passed, self.passed].concat();
        let losses = [earlier.losses, self.losses].concat();
        let efforts = if self.efforts.is_empty() { earlier.efforts } else { self.efforts };
        let release = self.release.or(earlier.release);
        Self { outcome, cells, passed, efforts, losses, release, ..self }
    }

    /// The cells that are wrong.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| matches!(cell.outcome, Cased::Wrong(_)))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = if self.is_good() { "" } else { "FAILED: " };
        write!(f, "{head}{}", self.outcome)?;
        match (self.wrong().count(), self.missing.len()) {
            (0, 0) => Ok(()),
            (wrong, missing) => write!(f, "; cases: {wrong} wrong, {missing} missing"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran { suites, passed, failed, expected } => {
                write!(f, "{suites} of {expected} suites, {passed} passed, {failed} failed")
            }
            Self::Panicked(why) => write!(f, "the kernel panicked: {why}"),
            Self::Hung => write!(f, "it hung"),
            Self::Overtime => write!(f, "it was not done in time"),
            Self::Lost => write!(f, "it ended without a verdict"),
            Self::NeverBooted => write!(f, "it never booted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTED: &str = "vm 7af3 booted 6.1.0-56-cloud-amd64\r\n";

    fn expected(cases: &[&str]) -> Expected {
        Expected { suites: 2, cases: cases.iter().map(|it| (*it).to_owned()).collect() }
    }

    fn of(rest: &str, ending: Ending) -> Verdict {
        of_cases(rest, &[], ending)
    }

    fn of_cases(rest: &str, cases: &[&str], ending: Ending) -> Verdict {
        judge(&format!("[    0.1] noise\r\n{BOOTED}{rest}"), "7af3", &expected(cases), ending)
    }

    #[test]
    fn all_suites_without_a_failure_are_good() {
        let verdict = of("\r\nvm 7af3 suites 2 passed 9 failed 0\r\n", Ending::Exit);
        assert!(verdict.is_good());
        assert_eq!(verdict.release.as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(verdict.to_string(), "2 of 2 suites, 9 passed, 0 failed");
    }

    #[test]
    fn a_failure_a_missing_suite_and_no_test_are_not_good() {
        for counts in ["2 passed 9 failed 1", "1 passed 9 failed 0", "2 passed 0 failed 0"] {
            let verdict = of(&format!("vm 7af3 suites {counts}\n"), Ending::Exit);
            assert!(!verdict.is_good(), "{counts}");
        }
    }

    #[test]
    fn another_run_s_verdict_and_the_command_line_s_echo_are_not_taken() {
        for line in ["vm 0000 suites 2 passed 9 failed 0\n", "Command line: vm.nonce=7af3\n"] {
            assert_eq!(of(line, Ending::Exit).outcome, Outcome::Lost, "{line}");
        }
        let cut = of("vm 7af3 suites 2 passed", Ending::Silence);
        assert_eq!(cut.outcome, Outcome::Hung);
    }

    #[test]
    fn every_way_to_end_badly_has_its_name() {
        let panic = "[ 9.1] Kernel panic - not syncing: sysrq triggered crash\r\n";
        let panicked = Outcome::Panicked("sysrq triggered crash".to_owned());
        assert_eq!(of(panic, Ending::Exit).outcome, panicked);
        assert_eq!(of("", Ending::Silence).outcome, Outcome::Hung);
        assert_eq!(of("test a ... ", Ending::Overtime).outcome, Outcome::Overtime);
        assert_eq!(of("", Ending::Exit).outcome, Outcome::Lost);
        let mute = judge("SeaBIOS\r\n", "7af3", &expected(&[]), Ending::Silence);
        assert_eq!(mute.outcome, Outcome::NeverBooted);
    }

    #[test]
    fn a_good_verdict_does_not_excuse_what_the_kernel_does_after_it() {
        let panic = "[ 9.1] Kernel panic - not syncing: Fatal exception\r\n";
        for (rest, ending, outcome) in [
            (panic, Ending::Exit, Outcome::Panicked("Fatal exception".to_owned())),
            (panic, Ending::Silence, Outcome::Panicked("Fatal exception".to_owned())),
            ("", Ending::Silence, Outcome::Hung),
            ("reboot: ", Ending::Overtime, Outcome::Overtime),
        ] {
            let verdict = of(&format!("{PASSED}{rest}"), ending);
            assert!(!verdict.is_good());
            assert_eq!(verdict.outcome, outcome);
        }
    }

    const PASSED: &str = "vm 7af3 suites 2 passed 9 failed 0\r\n";

    #[test]
    fn every_expected_case_must_have_a_right_cell() {
        let said = format!("vm 7af3 cell a right\r\nvm 7af3 cell b degraded no tcx\r\n{PASSED}");
        let verdict = of_cases(&said, &["a", "b"], Ending::Exit);
        assert!(verdict.is_good(), "{verdict}");
        let degraded = Cased::Degraded("no tcx".to_owned());
        assert_eq!(verdict.cell("b").map(|cell| &cell.outcome), Some(&degraded));
        let verdict = of_cases(&said, &["a", "b", "c"], Ending::Exit);
        assert!(!verdict.is_good());
        assert_eq!(verdict.missing, ["c"]);
    }

    #[test]
    fn a_wrong_cell_fails_the_guest_whatever_its_suites_say() {
        let said = format!("vm 7af3 cell a right\nvm 7af3 cell a wrong on n1\n{PASSED}");
        let verdict = of_cases(&said, &["a"], Ending::Exit);
        assert!(!verdict.is_good());
        assert!(matches!(verdict.cell("a").expect("said").outcome, Cased::Wrong(_)));
        assert!(verdict.to_string().ends_with("cases: 1 wrong, 0 missing"), "{verdict}");
    }

    #[test]
    fn what_was_right_goes_before_what_another_guest_shows() {
        let loss = |case: &str| {
            let loss = Loss::of(case, case, &[]);
            loss.line("7af3") + "\n"
        };
        let cases_of =
            |losses: &[Loss]| losses.iter().map(|it| it.case.clone()).collect::<Vec<_>>();
        let losses = loss("a") + &loss("b") + &loss("c");
        let said = "vm 7af3 cell suite:x right\ntest result: ok. 4 passed; 0 failed;\n\
                    vm 7af3 cell a degraded slow\nvm 7af3 cell suite:y right\n\
                    vm 7af3 cell b wrong on n1\nvm 7af3 cell c right\n\
                    vm 7af3 cell suite:z wrong 1 failed\n";
        let all = format!("{losses}{said}{PASSED}");
        let right = of_cases(&all, &["a", "b", "c"], Ending::Exit).right();
        assert_eq!(cases_of(&right.losses), ["a", "c"]);
        let cases: Vec<&str> = right.cells.iter().map(|cell| cell.case.as_str()).collect();
        assert_eq!(cases, ["suite:x", "a", "suite:y", "c"]);
        let shown = [("suite:x".to_owned(), 0), ("suite:y".to_owned(), 4)];
        assert_eq!(right.passed, shown);
        assert!(right.is_good(), "{right}");
        let rest = "vm 7af3 cell b right\nvm 7af3 cell suite:z right\nvm 7af3 cell c right\n";
        let rest = of_cases(&format!("{}{rest}{PASSED}", loss("b")), &["b"], Ending::Exit);
        let all = rest.after(&right);
        assert_eq!(cases_of(&all.losses), ["a", "b"], "c was shown again, without one");
        assert_eq!(all.to_string(), "4 of 4 suites, 13 passed, 0 failed");
        assert!(all.is_good() && !all.is_wrong("a") && !all.is_wrong("b"));
        // A suite that is run again for a new case counts once, as it is now.
        let again =
            of_cases(&format!("vm 7af3 cell suite:y wrong 1 failed\n{PASSED}"), &[], Ending::Exit);
        let all = again.after(&right);
        assert_eq!(all.outcome, Outcome::Ran { suites: 3, passed: 9, failed: 0, expected: 3 });
        assert!(all.is_wrong("suite:y") && !all.is_good());
        let died = of_cases("test b ... ", &["b"], Ending::Silence).after(&right);
        assert!(!died.is_good() && died.outcome == Outcome::Hung && !died.is_wrong("a"));
    }

    #[test]
    fn the_last_suite_of_a_guest_that_died_is_not_taken_for_right() {
        let said = "vm 7af3 cell suite:x right\nvm 7af3 cell suite:y right\n";
        let panic = "[ 9.1] Kernel panic - not syncing: Fatal exception\r\n";
        let right = of(&format!("{said}{PASSED}{panic}"), Ending::Exit).right();
        assert!(right.cell("suite:x").is_some() && right.cell("suite:y").is_none());
        assert_eq!(right.passed.len(), 1);
    }

    #[test]
    fn what_is_no_case_any_more_is_forgotten() {
        let said = format!("vm 7af3 cell suite:x right\nvm 7af3 cell suite:y right\n{PASSED}");
        let rest = of(&said, Ending::Exit).of(&["suite:y".to_owned()]);
        assert_eq!((rest.cells.len(), rest.passed.len()), (1, 1));
    }

    #[test]
    fn cells_of_a_guest_that_hung_are_kept() {
        let verdict = of_cases("vm 7af3 cell a right\r\n", &["a", "b"], Ending::Silence);
        assert_eq!((verdict.outcome, verdict.cells.len()), (Outcome::Hung, 1));
        assert_eq!(verdict.missing, ["b"]);
    }
}
