//! A cell of the table kernels × cases: what a suite in a guest says of one case, in one line that
//! the host reads back.
//!
//! ```text
//! vm NONCE cell fdb-entry-missing right
//! vm NONCE cell capabilities degraded tcx is off
//! vm NONCE cell cni0-down wrong on n2: finds nothing
//! ```
//!
//! The nonce is drawn for each guest, so that nothing else on its console passes for a cell.

use std::{env, fmt, io::Write as _};

use serde::{Deserialize, Serialize};

/// Tells a suite the nonce of its guest.
pub const NONCE_VARIABLE: &str = "FLANNEL_TRACER_VM_NONCE";
/// What the lines of cells begin with.
const WORD: &str = "cell";
/// What the names of suites' own cases begin with.
const SUITE: &str = "suite:";
/// Characters of a cell's detail: a line is written to a console at once, or not as one.
const DETAIL: usize = 400;

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The case: a fault, a look-alike, or what else the suite shows. One word.
    pub case: String,
    /// How it came out.
    pub outcome: Outcome,
}

/// How a case came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As on the newest kernel.
    Right,
    /// Right, but for what this kernel does not show.
    Degraded(String),
    /// Not right, and how.
    Wrong(String),
}

/// The case that a whole suite is.
#[must_use]
pub fn suite_case(suite: &str) -> String {
    format!("{SUITE}{suite}")
}

/// Whether a case is a whole suite.
#[must_use]
pub fn is_suite(case: &str) -> bool {
    case.starts_with(SUITE)
}

// === impl Outcome ===

impl Outcome {
    /// How a whole suite came out. A filter may leave none of its tests.
    #[must_use]
    pub fn of_suite(passed: u64, failed: u64, is_filtered: bool) -> Self {
        match (passed, failed) {
            (0, 0) if is_filtered => Self::Degraded("no test has such a name".to_owned()),
            (0, 0) => Self::Wrong("it ran no test".to_owned()),
            (_, 0) => Self::Right,
            (_, failed) => Self::Wrong(format!("{failed} failed")),
        }
    }
}

// === impl Cell ===

impl Cell {
    /// The line for the console of the guest with this nonce.
    #[must_use]
    pub fn line(&self, nonce: &str) -> String {
        line_of(nonce, WORD, &self.to_string())
    }

    /// Says it on standard error, past the capture of the test harness: with the nonce in a guest,
    /// without it for the reader of a run elsewhere.
    ///
    /// # Panics
    /// When standard error cannot be written to.
    pub fn say(&self) {
        let line = env::var(NONCE_VARIABLE).map_or_else(|_| self.to_string(), |it| self.line(&it));
        print_line(&line);
    }

    /// Reads a line of the console of the guest with this nonce.
    #[must_use]
    pub fn read(line: &str, nonce: &str) -> Option<Self> {
        let rest = said_of(line, nonce, WORD)?;
        let (case, rest) = rest.split_once(' ')?;
        let (word, detail) = rest.split_once(' ').unwrap_or((rest, ""));
        let outcome = match word {
            "right" if detail.is_empty() => Outcome::Right,
            "degraded" => Outcome::Degraded(detail.to_owned()),
            "wrong" => Outcome::Wrong(detail.to_owned()),
            _ => return None,
        };
        Some(Self { case: case.to_owned(), outcome })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, outcome } = self;
        match outcome {
            Outcome::Right => write!(f, "{case} right"),
            Outcome::Degraded(detail) => write!(f, "{case} degraded {}", in_one_line(detail)),
            Outcome::Wrong(detail) => write!(f, "{case} wrong {}", in_one_line(detail)),
        }
    }
}

/// A line for the host of the guest with this nonce, that begins with what it is.
pub(crate) fn line_of(nonce: &str, what: &str, text: &str) -> String {
    format!("vm {nonce} {what} {text}")
}

/// What a line of the console of the guest with this nonce says, if it is of that kind.
pub(crate) fn said_of<'a>(line: &'a str, nonce: &str, what: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix(&line_of(nonce, what, ""))
}

/// Says a line on standard error to the host of this guest; elsewhere it says nothing.
///
/// # Panics
/// When standard error cannot be written to.
pub(crate) fn tell_host(what: &str, text: &str) {
    if let Ok(nonce) = env::var(NONCE_VARIABLE) {
        print_line(&line_of(&nonce, what, text));
    }
}

/// On a line of its own, whatever was being printed.
fn print_line(line: &str) {
    #[expect(clippy::expect_used, reason = "a result that nobody hears of is none")]
    std::io::stderr().write_all(format!("\n{line}\n").as_bytes()).expect("standard error is open");
}

fn in_one_line(detail: &str) -> String {
    let words: Vec<&str> = detail.split_whitespace().collect();
    words.join(" ").chars().take(DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(outcome: Outcome) -> Cell {
        Cell { case: "cni0-down".to_owned(), outcome }
    }

    #[test]
    fn what_is_said_is_read_back() {
        for outcome in [
            Outcome::Right,
            Outcome::Degraded("tcx is off".to_owned()),
            Outcome::Wrong("on n2: finds nothing".to_owned()),
        ] {
            let cell = cell(outcome);
            let line = cell.line("7af3") + "\r\n";
            assert_eq!(Cell::read(&line, "7af3"), Some(cell));
        }
    }

    #[test]
    fn a_line_of_another_guest_or_of_another_form_is_no_cell() {
        for line in [
            "vm 0000 cell cni0-down right",
            "vm 7af3 cell cni0-down",
            "vm 7af3 cell cni0-down rig",
            "vm 7af3 cell cni0-down right or so",
            "cni0-down right",
            "  vm 7af3 cell cni0-down right",
        ] {
            assert_eq!(Cell::read(line, "7af3"), None, "{line}");
        }
    }

    #[test]
    fn a_suite_is_right_only_when_something_passed() {
        let wrong = |detail: &str| Outcome::Wrong(detail.to_owned());
        assert_eq!(Outcome::of_suite(3, 0, false), Outcome::Right);
        assert_eq!(Outcome::of_suite(3, 0, true), Outcome::Right);
        assert_eq!(Outcome::of_suite(3, 2, true), wrong("2 failed"));
        assert_eq!(Outcome::of_suite(0, 1, false), wrong("1 failed"));
        assert_eq!(Outcome::of_suite(0, 0, false), wrong("it ran no test"));
        assert!(matches!(Outcome::of_suite(0, 0, true), Outcome::Degraded(_)));
    }

    #[test]
    fn a_long_detail_of_many_lines_becomes_one_short_line() {
        let said = cell(Outcome::Wrong("a\nb ".repeat(1000))).to_string();
        assert!(!said.contains('\n') && said.len() < DETAIL + 40, "{said}");
    }
}
