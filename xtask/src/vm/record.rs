//! What a row of the whole matrix has shown so far: suites and cases that were right, kept beside its log.
//! The matrix takes hours where guests are interpreted, and can be gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::guest::Ran;
use super::row::Row;

/// What was right of a row.
#[derive(Serialize, Deserialize)]
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

    /// Keeps it for a row.
    pub(super) fn keep(&self, folder: &Path, row: &Row) -> Result<()> {
        let file = file(folder, row);
        let text = serde_json::to_string(self).context("a record is JSON")?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn file(folder: &Path, row: &Row) -> PathBuf {
    folder.join(format!("{}.json", row.file()))
}

#[cfg(test)]
mod tests {
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
}
