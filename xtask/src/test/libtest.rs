//! Reading what Rust's test programs print.

use std::time::{Duration, Instant};

use super::report::{Counts, Skip, Tally};

/// Adds up the results of the test programs of one tier, line by line.
#[derive(Default)]
pub(crate) struct Reader {
    tally: Tally,
    filtered_out: usize,
    /// When the last line of a result came.
    last: Option<Instant>,
    took: Vec<(String, Duration)>,
}

// === impl Reader ===

impl Reader {
    /// Takes the next line of a test program's output.
    pub(crate) fn read(&mut self, line: &str) {
        if line.starts_with("running ") {
            self.last = Some(Instant::now());
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.tally.passed += count(counts, "passed");
            self.tally.failed += count(counts, "failed");
            self.filtered_out += count(counts, "filtered");
        } else if let Some((name, result)) = result_of(line) {
            self.read_result(name, result);
        }
    }

    /// What has been read so far.
    pub(crate) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// Tests that were named to be left out, so far.
    pub(crate) const fn filtered_out(&self) -> usize {
        self.filtered_out
    }

    /// How long each test took since the last call, where one runs after the other.
    pub(crate) fn take_times(&mut self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.took)
    }

    /// Counts tests that passed before.
    pub(crate) fn pass(&mut self, tests: usize) {
        self.tally.passed += tests;
    }

    /// Counts what is wrong with a test program as a whole.
    pub(crate) fn fail(&mut self, why: &str) {
        self.tally.fail(why);
    }

    /// The sum, when the programs have ended; `succeeded` says whether all of them did well.
    pub(crate) fn finish(mut self, succeeded: bool) -> Tally {
        if !succeeded && self.tally.failed == 0 {
            self.tally.failed = 1;
            self.tally.failures.push(
                "cargo or a test program gave up before it had a result; its words are above"
                    .to_owned(),
            );
        }
        self.tally
    }

    fn read_result(&mut self, name: &str, result: &str) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.took.push((name.to_owned(), now - last));
        }
        if result == "FAILED" {
            self.tally.failures.push(name.to_owned());
        } else if let Some(reason) = result.strip_prefix("ignored") {
            let reason = reason.trim_start_matches([',', ' ']);
            self.tally.skipped.push(Skip {
                name: name.to_owned(),
                reason: if reason.is_empty() { "no reason given" } else { reason }.to_owned(),
            });
        }
    }
}

/// `test NAME ... RESULT`.
fn result_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

/// The number before a word: 3 in `ok. 3 passed; 0 failed`.
fn count(counts: &str, word: &str) -> usize {
    let mut words = counts.split([' ', ';', '.']).filter(|part| !part.is_empty()).rev();
    words.find(|part| *part == word);
    words.next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test parse::reads_vxlan ... ok
test parse::reads_arp ... FAILED
test parse::reads_vlan ... ignored, VLAN is not built in
test parse::other ... ignored

test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.20s
";

    fn read(output: &str) -> Reader {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.read(line));
        reader
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let tally = read(OUTPUT).finish(false);
        assert_eq!((tally.passed, tally.failed), (13, 1));
        assert_eq!(read(OUTPUT).filtered_out(), 3);
        assert_eq!(tally.failures, ["parse::reads_arp"]);
    }

    #[test]
    fn each_test_has_its_time() {
        let mut reader = read(OUTPUT);
        let times = reader.take_times();
        assert_eq!(times.len(), 4);
        assert!(times.iter().all(|(_, took)| *took < Duration::from_secs(60)), "{times:?}");
        assert_eq!(reader.take_times(), []);
    }

    #[test]
    fn a_skip_keeps_its_name_and_reason() {
        let skipped = read(OUTPUT).finish(false).skipped;
        let skipped: Vec<_> = skipped.iter().map(|skip| (&*skip.name, &*skip.reason)).collect();
        assert_eq!(
            skipped,
            [("parse::reads_vlan", "VLAN is not built in"), ("parse::other", "no reason given"),]
        );
    }

    #[test]
    fn a_program_that_dies_without_a_result_has_failed() {
        let tally = read("test one ... ").finish(false);
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }
}
