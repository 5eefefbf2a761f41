//! What a row of the whole matrix has shown so far: suites and cases that were right. The matrix takes
//! hours where guests are interpreted, and can be gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

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

    /// What is known after a guest has run: the last word on each case, where that was right.
    pub(super) fn after(earlier: Option<Self>, at: &[String], ran: &Ran) -> Self {
        let Some(Self { at: mut all, ran: earlier }) = earlier else {
            return Self { at: at.to_vec(), ran: ran.right() };
        };
        all.retain(|it| !at.contains(it));
        all.extend_from_slice(at);
        Self { at: all, ran: ran.right().after(&earlier.but(ran)) }
    }

    /// Keeps it for a row.
    pub(super) fn keep(&self, folder: &Path, row: &Row) -> Result<()> {
        let file = file(folder, row);
        let cannot = || format!("cannot write {}", file.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        let text = serde_json::to_string_pretty(self).context("a record is JSON")? + "\n";
        fs::write(&file, text).with_context(cannot)
    }
}

fn file(folder: &Path, row: &Row) -> PathBuf {
    folder.join(format!("{}.json", row.file()))
}

#[cfg(test)]
mod tests {
    use tracer_tests::cell::Outcome;

    use super::super::table;
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

    #[test]
    fn the_last_word_on_a_case_counts() {
        let at = |commit: &str| vec![commit.to_owned()];
        let ran = |cells| table::tests::done("6.1", cells).result.expect("it ran");
        let first = ran(&[("a", Outcome::Right), ("b", Outcome::Right)]);
        let second = ran(&[("b", Outcome::Wrong("on n1".to_owned())), ("c", Outcome::Right)]);
        let record = Record::after(None, &at("first"), &first);
        let record = Record::after(Some(record), &at("second"), &second);
        let cases: Vec<&str> = record.ran.verdict.cells.iter().map(|it| it.case.as_str()).collect();
        assert_eq!(
            (cases, record.at),
            (vec!["a", "c"], vec!["first".to_owned(), "second".to_owned()])
        );
    }
}
