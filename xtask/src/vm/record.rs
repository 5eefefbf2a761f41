//! Rows of the whole matrix that were right, kept beside their logs: it takes hours where guests are
//! interpreted, and can be gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::guest::Ran;
use super::row::Row;
use super::table::Done;

/// A row that was right.
#[derive(Serialize, Deserialize)]
struct Record {
    at: String,
    ran: Ran,
}

/// Keeps a row that is right; any other is to be run again.
pub(super) fn keep(folder: &Path, done: Done) -> Result<Done> {
    let Done { row, result, log, at } = done;
    let file = file(folder, &row);
    let record = Record { at, ran: result? };
    let text = serde_json::to_string(&record).context("a record is JSON")?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Done { row, result: Ok(record.ran), log, at: record.at })
}

/// What was kept of a row; nothing that another version of this program wrote.
pub(super) fn find(folder: &Path, row: &Row) -> Option<Done> {
    let text = fs::read(file(folder, row)).ok()?;
    let Record { at, ran } = serde_json::from_slice(&text).ok()?;
    let log = folder.join(format!("{}.log", row.file()));
    Some(Done { row: row.clone(), result: Ok(ran), log, at })
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
        let (row, words) = (first.row.clone(), first.words());
        assert!(find(folder.path(), &row).is_none());
        let kept = keep(folder.path(), first).expect("it can be written");
        let found = find(folder.path(), &row).expect("it was kept");
        assert_eq!((found.words(), &found.at), (words, &kept.at));
        let other = Row { append: "quiet".to_owned(), ..row };
        assert!(find(folder.path(), &other).is_none());
    }
}
