//! What the lab's suites have shown so far: those that were right, and the cases of one that takes an
//! hour. A run of all of them can be gone on with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tracer_tests::shown;

use super::page::Shown;
use crate::folder::writable;

/// Where it is kept.
pub(super) struct Records {
    folder: PathBuf,
    /// Whether suites that were right are not run again.
    resume: bool,
    /// Commit and day of what is under test.
    now: String,
}

/// What is kept of a suite.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    /// Of which commits, and when.
    at: Vec<String>,
    /// How it ended, if it was right.
    shown: Option<Shown>,
}

/// A suite before it runs.
pub(super) enum Begun {
    /// It was right, of these commits.
    Known(Shown),
    /// It is to be run, and is of these commits then.
    Open(Vec<String>),
}

// === impl Records ===

impl Records {
    /// Records in a folder, which is made where there is none.
    pub(super) fn new(folder: PathBuf, resume: bool, now: String) -> Result<Self> {
        writable(&folder)?;
        Ok(Self { folder, resume, now })
    }

    /// Where suites keep their cases.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of a suite, or where it begins.
    pub(super) fn begin(&self, suite: &str) -> Result<Begun> {
        let mut record = Record::default();
        if self.resume {
            record = self.find(suite)?;
        } else {
            self.forget(suite)?;
        }
        if let Some(shown) = record.shown {
            return Ok(Begun::Known(shown));
        }
        record.at.retain(|it| *it != self.now);
        record.at.push(self.now.clone());
        // Its cases are kept one by one: it may not come to its end.
        self.write(suite, &record)?;
        Ok(Begun::Open(record.at))
    }

    /// Keeps that a suite was right.
    pub(super) fn keep(&self, shown: &Shown) -> Result<()> {
        let record = Record { at: shown.at.clone(), shown: Some(shown.clone()) };
        self.write(&shown.suite, &record)
    }

    fn find(&self, suite: &str) -> Result<Record> {
        let file = self.file(suite);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| file.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    fn forget(&self, suite: &str) -> Result<()> {
        for file in [self.file(suite), shown::file(&self.folder, suite)] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&self, suite: &str, record: &Record) -> Result<()> {
        let file = self.file(suite);
        let text = serde_json::to_string_pretty(record).context("a record is JSON")? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn file(&self, suite: &str) -> PathBuf {
        self.folder.join(format!("{suite}.json"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Counts;
    use super::*;

    fn records(folder: &Path, resume: bool, now: &str) -> Records {
        Records::new(folder.to_owned(), resume, now.to_owned()).expect("a folder")
    }

    fn open(records: &Records) -> Vec<String> {
        match records.begin("vips").expect("readable") {
            Begun::Open(at) => at,
            Begun::Known(_) => panic!("it was not right yet"),
        }
    }

    fn shown(at: Vec<String>) -> Shown {
        let counts = Counts { passed: 3, failed: 0, skipped: 0 };
        let (suite, took) = ("vips".to_owned(), Duration::from_secs(7));
        Shown { suite, counts, took, at, table: None }
    }

    #[test]
    fn a_suite_that_was_right_is_known_and_one_that_was_not_is_of_all_that_ran_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(open(&records(folder.path(), false, "first")), ["first"]);
        let second = records(folder.path(), true, "second");
        let at = open(&second);
        assert_eq!(at, ["first", "second"]);
        second.keep(&shown(at)).expect("writable");
        let Begun::Known(known) = records(folder.path(), true, "third").begin("vips").expect("it")
        else {
            panic!("it was right");
        };
        assert_eq!((known.counts.passed, known.at), (3, vec!["first".into(), "second".into()]));
    }

    #[test]
    fn a_run_from_the_start_knows_nothing_of_the_last_one_and_no_case_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = records(folder.path(), false, "first");
        first.keep(&shown(open(&first))).expect("writable");
        let cases = shown::file(folder.path(), "vips");
        fs::write(&cases, "{}").expect("writable");
        assert_eq!(open(&records(folder.path(), false, "second")), ["second"]);
        assert!(!cases.exists());
    }
}
