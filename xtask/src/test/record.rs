//! What the lab's suites have shown so far: those that were right, and the cases of one that takes an
//! hour. A run of all of them can be gone on with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tracer_tests::{kernel, shown};

use super::page::Shown;
use crate::folder::writable;

/// Where it is kept.
pub(super) struct Records {
    folder: PathBuf,
    /// The release under which suites run.
    kernel: String,
    /// Commit and day of what is under test.
    now: String,
}

/// What is kept of a suite.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    /// The release under which it ran.
    kernel: String,
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
    /// Records in a folder, which is made where there is none. Where nothing is resumed they begin anew.
    pub(super) fn new(folder: &Path, resume: bool, now: String) -> Result<Self> {
        // Suites run in a folder of their own.
        let folder = std::path::absolute(folder).context("--records")?;
        writable(&folder)?;
        if !resume {
            forget(&folder)?;
        }
        Ok(Self { folder, kernel: kernel::release(), now })
    }

    /// Where suites keep their cases.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of a suite, or where it begins.
    pub(super) fn begin(&self, suite: &str) -> Result<Begun> {
        let mut record =
            self.find(suite)?.filter(|it| it.kernel == self.kernel).unwrap_or_default();
        if let Some(shown) = record.shown {
            return Ok(Begun::Known(shown));
        }
        if record.at.is_empty() {
            // Its cases are of another kernel, or of nobody knows when.
            remove(&shown::file(&self.folder, suite))?;
        }
        record.kernel.clone_from(&self.kernel);
        record.at.retain(|it| *it != self.now);
        record.at.push(self.now.clone());
        // Its cases are kept one by one: it may not come to its end.
        self.write(suite, &record)?;
        Ok(Begun::Open(record.at))
    }

    /// Keeps how a suite ended, if it was right and left nothing out.
    pub(super) fn keep(&self, shown: &Shown) -> Result<()> {
        if shown.counts.failed + shown.counts.skipped > 0 {
            return Ok(());
        }
        let (kernel, at) = (self.kernel.clone(), shown.at.clone());
        let record = Record { kernel, at, shown: Some(shown.clone()) };
        self.write(&shown.suite, &record)
    }

    fn find(&self, suite: &str) -> Result<Option<Record>> {
        let file = self.file(suite);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| file.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    fn write(&self, suite: &str, record: &Record) -> Result<()> {
        let text = serde_json::to_string_pretty(record).context("a record is JSON")? + "\n";
        shown::write_whole(&self.file(suite), &text)
    }

    fn file(&self, suite: &str) -> PathBuf {
        self.folder.join(format!("{suite}.json"))
    }
}

/// Removes every record.
fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.context("a folder's entry")?.path();
        if path.extension().is_some_and(|it| it == "json") {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Counts;
    use super::*;

    fn records(folder: &Path, resume: bool, now: &str) -> Records {
        Records::new(folder, resume, now.to_owned()).expect("a folder")
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

    #[test]
    fn a_suite_that_failed_or_left_something_out_is_run_again_and_one_of_another_kernel_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = records(folder.path(), false, "first");
        for (failed, skipped) in [(1, 0), (0, 1)] {
            let at = open(&first);
            let counts = Counts { passed: 2, failed, skipped };
            first.keep(&Shown { counts, ..shown(at) }).expect("writable");
        }
        first.keep(&shown(open(&first))).expect("writable");
        let cases = shown::file(folder.path(), "vips");
        fs::write(&cases, "{}").expect("writable");
        let newer = Records { kernel: "7.2.0".to_owned(), ..records(folder.path(), true, "newer") };
        assert_eq!(open(&newer), ["newer"]);
        assert!(!cases.exists());
    }

    #[test]
    fn suites_find_the_folder_wherever_they_run() {
        let folder = tempfile::tempdir_in(".").expect("a folder");
        let relative = folder.path().file_name().expect("a name");
        assert!(records(Path::new(relative), false, "now").folder().is_absolute());
    }
}
