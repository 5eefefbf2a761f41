//! Tables for the documentation: what a suite showed, left in a folder where whoever ran it asks for
//! that.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Names the folder.
pub const FOLDER_VARIABLE: &str = "FLANNEL_TRACER_TEST_TABLES";

/// Leaves the table of a suite, in Markdown.
///
/// # Panics
/// When the folder cannot be written to.
pub fn publish(suite: &str, table: &str) {
    let Some(folder) = env::var_os(FOLDER_VARIABLE) else { return };
    let path = file(Path::new(&folder), suite);
    #[expect(clippy::expect_used, reason = "a table that nobody reads is none")]
    fs::write(path, table).expect("the folder for tables can be written to");
}

/// The table that a suite left, if it left one.
///
/// # Errors
/// When it cannot be read.
pub fn published(folder: &Path, suite: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(file(folder, suite)) {
        Ok(table) => Ok(Some(table)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn file(folder: &Path, suite: &str) -> PathBuf {
    folder.join(format!("{suite}.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_without_a_table_has_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(file(folder.path(), "a"), "| a |\n").unwrap();
        assert_eq!(published(folder.path(), "a").unwrap().as_deref(), Some("| a |\n"));
        assert_eq!(published(folder.path(), "b").unwrap(), None);
    }
}
