//! What a suite of an hour has shown to be right, case by case, left in a folder where whoever runs it
//! asks for that: a run that was cut short can be gone on with.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Names the folder.
pub const FOLDER_VARIABLE: &str = "FLANNEL_TRACER_TEST_SHOWN";

/// The cases of a suite that were right, with what there is to say of each.
#[derive(Debug)]
pub struct Shown {
    /// `None` where nobody asks for it.
    file: Option<PathBuf>,
    cases: BTreeMap<String, String>,
}

// === impl Shown ===

impl Shown {
    /// What the folder of the environment has of a suite.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn of_environment(suite: &str) -> Result<Self> {
        env::var_os(FOLDER_VARIABLE).map_or_else(
            || Ok(Self { file: None, cases: BTreeMap::new() }),
            |folder| Self::of(Path::new(&folder), suite),
        )
    }

    fn of(folder: &Path, suite: &str) -> Result<Self> {
        let file = file(folder, suite);
        let cases = match fs::read(&file) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| file.display().to_string())?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        Ok(Self { file: Some(file), cases })
    }

    /// What there is to say of a case, if it was right.
    #[must_use]
    pub fn words(&self, case: &str) -> Option<&str> {
        self.cases.get(case).map(String::as_str)
    }

    /// Keeps that a case was right.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&mut self, case: String, words: String) -> Result<()> {
        self.cases.insert(case, words);
        let Some(file) = &self.file else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.cases).context("words are JSON")? + "\n";
        write_whole(file, &text)
    }
}

/// Writes a file that is there as a whole or as it was, whenever the writer is ended.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(file: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let draft = file.with_extension("draft");
    fs::write(&draft, text).with_context(cannot)?;
    fs::rename(&draft, file).with_context(cannot)
}

/// Where the cases of a suite are, in a folder.
#[must_use]
pub fn file(folder: &Path, suite: &str) -> PathBuf {
    folder.join(format!("{suite}.cases.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_right_is_there_for_the_next_run_of_that_suite() {
        let folder = tempfile::tempdir().unwrap();
        let of = |suite: &str| Shown::of(folder.path(), suite).unwrap();
        let mut first = of("a");
        assert_eq!(first.words("case"), None);
        first.keep("case".to_owned(), "18 right".to_owned()).unwrap();
        assert_eq!(
            (first.words("case"), of("a").words("case")),
            (Some("18 right"), Some("18 right"))
        );
        assert_eq!(of("b").words("case"), None);
    }

    #[test]
    fn a_file_of_something_else_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(file(folder.path(), "a"), "[]").unwrap();
        let error = Shown::of(folder.path(), "a").unwrap_err();
        assert!(format!("{error:#}").contains("a.cases.json"), "{error:#}");
    }
}
