//! Files for the documentation that a command writes.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A file that can be written, with its folders. What it has is kept until there is something new.
pub(crate) fn writable(file: &Path) -> Result<PathBuf> {
    let file = std::path::absolute(file).context("--write")?;
    let cannot = || format!("cannot write {}", file.display());
    fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).with_context(cannot)?;
    OpenOptions::new().append(true).create(true).open(&file).with_context(cannot)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_s_folders_are_made_and_what_it_has_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a/b.md");
        let same = writable(&file).expect("a new folder can be made");
        fs::write(&same, "text").expect("it can be written");
        writable(&file).expect("the file is there");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "text");
        assert!(writable(&file.join("c")).is_err());
    }
}
