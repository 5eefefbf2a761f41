//! Folders that a command keeps something in.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Sees to it, before anything has run for an hour, that a folder is there and that files can be
/// written in it.
pub(crate) fn writable(folder: &Path) -> Result<()> {
    let probe = folder.join(".probe");
    let tried = fs::create_dir_all(folder).and_then(|()| fs::write(&probe, ""));
    tried.with_context(|| format!("cannot keep records in {}", folder.display()))?;
    fs::remove_file(&probe).with_context(|| format!("cannot remove {}", probe.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_left_empty_and_a_file_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inner, file) = (folder.path().join("a/b"), folder.path().join("file"));
        writable(&inner).expect("it can be made");
        assert_eq!(fs::read_dir(&inner).expect("it is there").count(), 0);
        fs::write(&file, "").expect("it can be written");
        let error = writable(&file).expect_err("a file").to_string();
        assert!(error.starts_with("cannot keep records in "), "{error}");
    }
}
