//! What flannel means the tables to hold, as far as files say it: flannel's own `subnet.env` and
//! a peers file written by the operator.

mod consistent;
pub mod peers_file;
pub mod subnet_env;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use self::consistent::{Inconsistent, require_consistent};

/// A file that cannot be used. To be shown to the operator with its source.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It does not hold what it should.
    #[error("{} line {line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there, and what would be right.
        reason: String,
    },
}

/// A line of a file that is wrong: its number from 1, and what is wrong.
type LineError = (usize, String);

fn malformed(path: &Path, (line, reason): LineError) -> FileError {
    FileError::Malformed { path: path.to_owned(), line, reason }
}

/// The text of a file; `None` when there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::Unreadable { path: path.to_owned(), error }),
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        malformed(path, (line, "is not text (UTF-8)".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_none_and_a_directory_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read_text(&directory.path().join("missing")).unwrap().is_none());
        let error = read_text(directory.path()).unwrap_err();
        assert!(matches!(error, FileError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_named_by_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"# peers\n10.244.2.0/24 \xff\n").unwrap();
        let error = read_text(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("line 2: is not text (UTF-8)"), "{error}");
    }
}
