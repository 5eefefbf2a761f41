//! What a guest's console says, and the verdict that follows. Pure: bytes in, verdict out.

use std::fmt;

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

/// What became of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    /// `uname -r` in the guest, once it has booted.
    pub(super) release: Option<String>,
    /// The last lines of the console.
    pub(super) tail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The guest said how its suites ended.
    Ran { suites: usize, passed: usize, failed: usize, expected: usize },
    /// The kernel panicked.
    Panicked(String),
    /// It booted, and then said nothing any more.
    Hung,
    /// It was still running when its time was over.
    Overtime,
    /// It booted and ended without a word on its suites.
    Lost,
    /// Its init never spoke.
    NeverBooted,
}

/// Judges what the console said. `expected` is the number of suites.
pub(super) fn judge(console: &str, nonce: &str, expected: usize, ending: Ending) -> Verdict {
    let said = |what: &str| {
        let head = format!("vm {nonce} {what} ");
        console.lines().find_map(|line| line.trim_end().strip_prefix(&head).map(str::to_owned))
    };
    let release = said("booted");
    let outcome = match (said("suites").and_then(|counts| ran(&counts, expected)), ending) {
        (Some(ran), _) => ran,
        (None, _) if panic(console).is_some() => {
            Outcome::Panicked(panic(console).unwrap_or_default())
        }
        (None, _) if release.is_none() => Outcome::NeverBooted,
        (None, Ending::Exit) => Outcome::Lost,
        (None, Ending::Silence) => Outcome::Hung,
        (None, Ending::Overtime) => Outcome::Overtime,
    };
    Verdict { outcome, release, tail: tail(console) }
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
    /// Whether all suites ran, something passed, and nothing failed.
    pub(super) fn is_good(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Ran { suites, passed, failed: 0, expected }
                if suites == expected && passed > 0
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = if self.is_good() { "" } else { "FAILED: " };
        write!(f, "{head}{}", self.outcome)
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

    fn of(rest: &str, ending: Ending) -> Verdict {
        judge(&format!("[    0.1] noise\r\n{BOOTED}{rest}"), "7af3", 2, ending)
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
        let mute = judge("SeaBIOS\r\n", "7af3", 2, Ending::Silence);
        assert_eq!(mute.outcome, Outcome::NeverBooted);
    }
}
