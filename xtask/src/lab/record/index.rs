//! The list of the corpus: a file a line, and what its node has to tell.
//!
//! ```text
//! cni0-down.n1.json   cni0-down       cbr0
//! cni0-down.n2.json   tunnel-one-way  10.93.7.0/24
//! healthy.n3.json     -
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The list's own name.
const FILE: &str = "index.txt";
/// For a node that tells nothing.
const NOTHING: &str = "-";
const HEAD: &str = "\
# What the node of each file has to tell: FILE CODE SUBJECT, or FILE - for nothing.
# Written by `cargo xtask lab record`.
";

/// A file of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) file: String,
    told: String,
}

/// All files of the corpus, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    entries: BTreeMap<String, String>,
}

// === impl Entry ===

impl Entry {
    pub(super) fn of(scene: &str, node: &str, told: Option<(String, String)>) -> Self {
        let told = told.map_or_else(|| NOTHING.to_owned(), |(code, key)| format!("{code} {key}"));
        Self { file: format!("{}{node}.json", head(scene)), told }
    }

    /// Code and subject, or `-`.
    pub(super) fn told(&self) -> &str {
        &self.told
    }
}

// === impl Index ===

impl Index {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The list of a folder; an empty one where there is none.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let entry = |line: &str| {
            let (file, told) = line.split_once(' ')?;
            Some((file.to_owned(), told.trim().to_owned()))
        };
        Self { entries: lines.filter_map(entry).collect() }
    }

    pub(super) fn text(&self) -> String {
        let line = |(file, told): (&String, &String)| format!("{file} {told}\n");
        std::iter::once(HEAD.to_owned()).chain(self.entries.iter().map(line)).collect()
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.insert(entry.file, entry.told);
    }

    /// Removes the files of a scene.
    pub(super) fn remove(&mut self, folder: &Path, scene: &str) -> Result<()> {
        let head = head(scene);
        self.remove_where(folder, |file| file.starts_with(&head))
    }

    /// Removes all files that are listed.
    pub(super) fn remove_all(&mut self, folder: &Path) -> Result<()> {
        self.remove_where(folder, |_| true)
    }

    fn remove_where(&mut self, folder: &Path, is_it: impl Fn(&str) -> bool) -> Result<()> {
        for (file, _) in self.entries.extract_if(.., |file, _| is_it(file)) {
            let path = folder.join(file);
            if path.exists() {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// With what the names of a scene's files begin, and no others.
fn head(scene: &str) -> String {
    format!("{scene}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let told = |code: &str, key: &str| Some((code.to_owned(), key.to_owned()));
        let mut index = Index::default();
        index.add(Entry::of("healthy", "n2", None));
        index.add(Entry::of("cni0-down", "n1", told("cni0-down", "cbr0")));
        index.add(Entry::of("cni0-down-deleted", "n1", told("cni0-down", "cni0")));
        index
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Index::of(&index().text()), index());
        assert!(index().text().ends_with("\nhealthy.n2.json -\n"), "{}", index().text());
    }

    #[test]
    fn only_the_files_of_a_scene_are_removed_with_it() {
        let mut index = index();
        index.remove(Path::new("/nonexistent"), "cni0-down").unwrap();
        let left: Vec<&String> = index.entries.keys().collect();
        assert_eq!(left, ["cni0-down-deleted.n1.json", "healthy.n2.json"]);
        index.remove_all(Path::new("/nonexistent")).unwrap();
        assert_eq!(index, Index::default());
    }
}
