//! What a row of the whole matrix has shown so far: suites and cases that were right. The matrix takes
//! hours where guests are interpreted, and can be gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tracer_tests::shown::write_whole;

use super::guest::Ran;
use super::row::Row;

/// What was right of a row.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of which commits, and when.
    pub(super) at: Vec<String>,
    /// As if one guest had shown that and no more.
    pub(super) ran: Ran,
}

// === impl Record ===

impl Record {
    /// What was kept of a row; nothing that another version of this program wrote.
    pub(super) fn find(folder: &Path, row: &Row) -> Option<Self> {
        let text = fs::read(file(folder, row)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// What is known after a guest has run, `now`: the last word on each case, where that was right.
    pub(super) fn after(earlier: Option<Self>, now: &str, ran: &Ran) -> Self {
        let rest = earlier.map(|it| Self { ran: it.ran.but(ran), ..it });
        let Some(Self { mut at, ran: rest }) = rest.filter(|it| it.ran.has_shown()) else {
            return Self { at: vec![now.to_owned()], ran: ran.right() };
        };
        let right = ran.right();
        // A guest that died has shown nothing of today.
        if right.has_shown() {
            at.retain(|it| it != now);
            at.push(now.to_owned());
        }
        Self { at, ran: right.after(&rest) }
    }

    /// Keeps it for a row.
    pub(super) fn keep(&self, folder: &Path, row: &Row) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("a record is JSON")? + "\n";
        write_whole(&file(folder, row), &text)
    }
}

fn file(folder: &Path, row: &Row) -> PathBuf {
    folder.join(format!("{}.json", row.file()))
}

#[cfg(test)]
mod tests {
    use tracer_tests::{cell::Outcome, loss::Loss};

    use super::super::{console, table};
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_for_its_row_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = table::tests::matrix().swap_remove(0);
        let (row, ran) = (first.row, first.result.expect("it ran"));
        assert!(Record::find(folder.path(), &row).is_none());
        let verdict = ran.verdict.clone();
        let record = Record { at: vec!["c0ffee".to_owned()], ran };
        record.keep(folder.path(), &row).expect("it can be written");
        let found = Record::find(folder.path(), &row).expect("it was kept");
        assert_eq!((found.ran.verdict, found.at), (verdict, record.at));
        let other = Row { append: "quiet".to_owned(), ..row };
        assert!(Record::find(folder.path(), &other).is_none());
    }

    fn ran(cells: &[(&str, Outcome)]) -> Ran {
        table::tests::done("6.1", cells).result.expect("it ran")
    }

    fn cases(record: &Record) -> Vec<&str> {
        record.ran.verdict.cells.iter().map(|it| it.case.as_str()).collect()
    }

    #[test]
    fn the_last_word_on_a_case_counts() {
        let mut first = ran(&[("a", Outcome::Right), ("b", Outcome::Right)]);
        first.verdict.losses = ["a", "b"].map(|case| Loss::of(case, case, &[])).into();
        let second = ran(&[("b", Outcome::Wrong("on n1".to_owned())), ("c", Outcome::Right)]);
        let record = Record::after(None, "first", &first);
        let record = Record::after(Some(record), "second", &second);
        assert_eq!(cases(&record), ["a", "c"]);
        let losses: Vec<&str> = record.ran.verdict.losses.iter().map(|it| &*it.case).collect();
        assert_eq!(losses, ["a"]);
        assert_eq!(record.at, ["first", "second"]);
        assert_eq!(record.ran.took, first.took + second.took);
    }

    #[test]
    fn a_guest_that_shows_nothing_right_is_none_of_those_that_did() {
        let first = ran(&[("a", Outcome::Right), ("b", Outcome::Right)]);
        let record = Record::after(None, "first", &first);
        let record = Record::after(Some(record), "second", &ran(&[]));
        assert_eq!((cases(&record), &record.at), (vec!["a", "b"], &vec!["first".to_owned()]));
        let wrong = ran(&[("b", Outcome::Wrong("on n1".to_owned()))]);
        let record = Record::after(Some(record), "third", &wrong);
        assert_eq!((cases(&record), &record.at), (vec!["a"], &vec!["first".to_owned()]));
    }

    #[test]
    fn what_a_dead_guest_was_asked_and_did_not_say_is_open_again() {
        let record =
            Record::after(None, "first", &ran(&[("a", Outcome::Right), ("b", Outcome::Right)]));
        let mut dead = ran(&[]);
        dead.verdict.outcome = console::Outcome::NeverBooted;
        dead.verdict.release = None;
        dead.verdict.missing = vec!["b".to_owned()];
        let record = Record::after(Some(record), "second", &dead);
        assert_eq!(cases(&record), ["a"]);
        assert_eq!(record.ran.verdict.release.as_deref(), Some("6.1.0"));
    }

    #[test]
    fn a_run_that_has_shown_everything_anew_leaves_nothing_of_the_one_before() {
        let whole = ran(&[("a", Outcome::Right)]);
        let record = Record::after(Some(Record::after(None, "first", &whole)), "second", &whole);
        assert_eq!((&*record.at, record.ran.took), (&["second".to_owned()][..], whole.took));
    }
}
