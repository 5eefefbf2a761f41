//! What all guests said, as tables in Markdown: kernels × cases, where packets were lost, what verifiers
//! took. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{Table, presets};
use tracer_tests::cell::Outcome;
use tracer_tests::effort::Effort;
use tracer_tests::loss::Loss;

use super::console::Verdict;
use super::guest::Ran;
use super::row::Row;

/// How one row of the matrix did.
pub(super) struct Done {
    pub(super) row: Row,
    pub(super) result: Result<Ran>,
    pub(super) log: PathBuf,
    /// Of which commits it was, and when.
    pub(super) at: Vec<String>,
}

// === impl Done ===

impl Done {
    pub(super) fn is_good(&self) -> bool {
        self.verdict().is_some_and(Verdict::is_good)
    }

    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.result.as_ref().ok().map(|ran| &ran.verdict)
    }

    /// How it ended, in words.
    pub(super) fn words(&self) -> String {
        match &self.result {
            Ok(ran) => ran.verdict.to_string(),
            Err(error) => format!("FAILED: {error:#}"),
        }
    }

    /// `right`, `degraded`, `WRONG` or `missing`.
    fn word(&self, case: &str) -> &'static str {
        match self.verdict().and_then(|verdict| verdict.cell(case)).map(|cell| &cell.outcome) {
            Some(Outcome::Right) => "right",
            Some(Outcome::Degraded(_)) => "degraded",
            Some(Outcome::Wrong(_)) => "WRONG",
            None => "missing",
        }
    }
}

/// All that is told of a run.
pub(super) fn whole(cases: &[String], all: &[Done]) -> String {
    [rows(all) + "\n", self::cases(cases, all), losses(cases, all), efforts(all)].concat()
}

/// One line a row: its kernel's release, what was shown and when, how long its guest took, how it ended.
fn rows(all: &[Done]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["kernel", "release", "commit", "took", "result"]);
    for done in all {
        let release = done.verdict().and_then(|verdict| verdict.release.clone());
        let took = done.result.as_ref().map(times).unwrap_or_default();
        let (row, release) = (done.row.to_string(), release.unwrap_or_default());
        table.add_row([row, release, done.at.join("; "), took, done.words()]);
    }
    format!("{table}\n")
}

/// How long a guest took, and what of it a processor worked.
fn times(ran: &Ran) -> String {
    let worked = ran.worked.map(|it| format!(" ({} s worked)", it.as_secs()));
    format!("{} s{}", ran.took.as_secs(), worked.unwrap_or_default())
}

/// One line a case, one column a row of the matrix; below it what was degraded and what was wrong.
/// `expected` is what every row has to show; what else they said follows.
fn cases(expected: &[String], all: &[Done]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(
        std::iter::once("case".to_owned()).chain(all.iter().map(|it| it.row.to_string())),
    );
    for case in all_cases(expected, all) {
        table.add_row(std::iter::once(case).chain(all.iter().map(|done| done.word(case))));
    }
    format!("{table}\n{}", details(all))
}

/// The cases that every row has to show, and what else they said.
fn all_cases<'a>(expected: &'a [String], all: &'a [Done]) -> Vec<&'a str> {
    let mut cases: Vec<&str> = expected.iter().map(String::as_str).collect();
    for cell in all.iter().filter_map(Done::verdict).flat_map(|verdict| &verdict.cells) {
        if !cases.contains(&cell.case.as_str()) {
            cases.push(&cell.case);
        }
    }
    cases
}

/// One line a program, one column a row of the matrix: instructions and bytes of stack that its
/// verifier took. Empty where no guest ran that suite.
fn efforts(all: &[Done]) -> String {
    let of = |done: &Done| done.verdict().map(|it| it.efforts.clone()).unwrap_or_default();
    let said: Vec<Vec<Effort>> = all.iter().map(of).collect();
    let programs: BTreeSet<&str> = said.iter().flatten().map(|it| it.program.as_str()).collect();
    if programs.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let rows = all.iter().map(|it| it.row.to_string());
    table.set_header(std::iter::once("program".to_owned()).chain(rows));
    for program in programs {
        let figures = |efforts: &Vec<Effort>| {
            let own = efforts.iter().find(|it| it.program == program);
            own.map_or_else(String::new, |it| format!("{} / {}", it.instructions, it.stack))
        };
        table.add_row(std::iter::once(program.to_owned()).chain(said.iter().map(figures)));
    }
    format!("\n{table}\n")
}

/// Where and why the packets of each fault were lost, and on which rows it was told so: one line where
/// all say the same. Empty where no guest ran a fault.
fn losses(expected: &[String], all: &[Done]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["fault", "last stage", "reason", "function", "told as", "kernels"]);
    for case in all_cases(expected, all) {
        for (words, kernels) in told(case, all) {
            table.add_row(std::iter::once(case).chain(words).chain([&*kernels.join(", ")]));
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{table}\n") }
}

/// What the rows say of the packets of a case, and which say so, in the order of the rows.
fn told<'a>(case: &str, all: &'a [Done]) -> Vec<([&'a str; 4], Vec<String>)> {
    let mut told: Vec<([&str; 4], Vec<String>)> = Vec::new();
    for done in all {
        let losses = done.verdict().into_iter().flat_map(|verdict| &verdict.losses);
        let Some(words) = losses.filter(|it| it.case == case).map(Loss::words).next() else {
            continue;
        };
        let row = done.row.to_string();
        match told.iter_mut().find(|it| it.0 == words) {
            Some((_, rows)) => rows.push(row),
            None => told.push((words, vec![row])),
        }
    }
    told
}

/// A line for each cell that is not simply right.
fn details(all: &[Done]) -> String {
    let mut text = String::new();
    for done in all {
        for cell in done.verdict().into_iter().flat_map(|verdict| &verdict.cells) {
            let (word, detail) = match &cell.outcome {
                Outcome::Right => continue,
                Outcome::Degraded(detail) => ("degraded", detail),
                Outcome::Wrong(detail) => ("wrong", detail),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {}, {} {word}: {detail}", done.row, cell.case);
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tracer_tests::cell::Cell;

    use super::super::console;
    use super::*;

    pub(in super::super) fn done(kernel: &str, cells: &[(&str, Outcome)]) -> Done {
        let row = Row::usual(kernel, "");
        let cell = |(case, outcome): &(&str, Outcome)| Cell {
            case: (*case).to_owned(),
            outcome: outcome.clone(),
        };
        let verdict = Verdict {
            outcome: console::Outcome::Ran { suites: 1, passed: 3, failed: 0, expected: 1 },
            cells: cells.iter().map(cell).collect(),
            passed: Vec::new(),
            efforts: Vec::new(),
            losses: Vec::new(),
            missing: Vec::new(),
            release: Some(format!("{kernel}.0")),
            tail: String::new(),
        };
        let result = Ok(Ran {
            verdict,
            took: Duration::from_secs(71),
            worked: Some(Duration::from_secs(60)),
        });
        Done { row, result, log: PathBuf::new(), at: vec!["c0ffee".to_owned()] }
    }

    pub(in super::super) fn matrix() -> Vec<Done> {
        let broken = Row::usual("9.9", "");
        let error = Err(anyhow::anyhow!("no such kernel"));
        vec![
            done("5.10", &[("a", Outcome::Right), ("b", Outcome::Degraded("no tcx".to_owned()))]),
            done("6.1", &[("a", Outcome::Wrong("on n2".to_owned())), ("c", Outcome::Right)]),
            Done { row: broken, result: error, log: PathBuf::new(), at: vec!["c0ffee".to_owned()] },
        ]
    }

    fn line(text: &str, head: &str) -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(&format!("| {head} ")));
        let words = line.expect("such a line").split('|').map(|it| it.trim().to_owned());
        words.filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn every_cell_has_its_word_and_a_missing_one_too() {
        let text = cases(&["a".to_owned(), "b".to_owned()], &matrix());
        assert_eq!(line(&text, "case"), ["case", "5.10", "6.1", "9.9"]);
        assert_eq!(line(&text, "a"), ["a", "right", "WRONG", "missing"]);
        assert_eq!(line(&text, "b"), ["b", "degraded", "missing", "missing"]);
        assert_eq!(line(&text, "c"), ["c", "missing", "right", "missing"]);
    }

    #[test]
    fn what_was_degraded_or_wrong_is_listed_below() {
        let text = cases(&[], &matrix());
        assert!(text.contains("\n\n- 5.10, b degraded: no tcx\n- 6.1, a wrong: on n2\n"), "{text}");
    }

    #[test]
    fn what_a_verifier_took_is_told_by_program_and_only_where_it_was_said() {
        let mut all = matrix();
        assert_eq!(efforts(&all), "");
        let effort = Effort { program: "wire_in".to_owned(), instructions: 53_121, stack: 344 };
        all[1].result.as_mut().expect("it ran").verdict.efforts.push(effort);
        let text = efforts(&all);
        let head = text.lines().find(|line| line.contains("program")).expect("a head");
        assert_eq!(head.matches('|').count(), all.len() + 2);
        assert_eq!(line(&text, "wire_in"), ["wire_in", "53121 / 344"]);
    }

    #[test]
    fn rows_that_lose_the_packets_of_a_fault_alike_share_a_line() {
        let mut all = matrix();
        let cases = ["a".to_owned(), "b".to_owned()];
        assert_eq!(losses(&cases, &all), "");
        for (done, reason) in all.iter_mut().zip([None, Some("NO_TX_TARGET".to_owned())]) {
            let verdict = &mut done.result.as_mut().expect("it ran").verdict;
            let symbol = Some("vxlan_xmit".to_owned());
            for (case, reason) in [("a", reason), ("b", None)] {
                let (case, cause) = (case.to_owned(), Some("fdb-entry-missing".to_owned()));
                let symbol = symbol.clone();
                verdict.losses.push(Loss { case, cause, stage: None, reason, symbol });
            }
        }
        let text = losses(&cases, &all);
        let of_a = ["a", "–", "–", "vxlan_xmit", "fdb-entry-missing", "5.10"];
        assert_eq!(line(&text, "a"), of_a);
        assert!(text.contains("NO_TX_TARGET"), "{text}");
        assert_eq!(line(&text, "b").last().map(String::as_str), Some("5.10, 6.1"));
    }

    #[test]
    fn a_row_that_never_ran_is_told_as_failed() {
        let text = rows(&matrix());
        let cells = "1 of 1 suites, 3 passed, 0 failed";
        assert_eq!(line(&text, "5.10"), ["5.10", "5.10.0", "c0ffee", "71 s (60 s worked)", cells]);
        assert_eq!(line(&text, "9.9"), ["9.9", "c0ffee", "FAILED: no such kernel"]);
        assert!(!matrix()[1].is_good() && !matrix()[2].is_good() && matrix()[0].is_good());
    }
}
