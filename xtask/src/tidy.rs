//! The repository's own rules: what CONTRIBUTING.md asks for and no other tool checks.

mod rules;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 3] = [".git", "target", "corpus"];

/// One text file of the repository.
struct Source {
    /// Relative to the workspace, with `/`.
    path: String,
    text: String,
}

/// The name of a rule and where it is broken.
pub(crate) type Verdict = (&'static str, Vec<String>);

/// Holds the repository against every rule.
pub(crate) fn check(workspace: &Path) -> Result<Vec<Verdict>> {
    let mut sources = Vec::new();
    collect(workspace, workspace, &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(rules::RULES.iter().map(|(name, rule)| (*name, rule(&sources))).collect())
}

// === impl Source ===

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// `PATH:LINE: TEXT` of each line that a predicate holds for.
    fn lines_where(&self, predicate: impl Fn(&str) -> bool) -> Vec<String> {
        let numbered = self.text.lines().enumerate();
        numbered
            .filter(|(_, line)| predicate(line))
            .map(|(index, line)| format!("{}:{}: {}", self.path, index + 1, line.trim()))
            .collect()
    }
}

fn collect(workspace: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let cannot_read = |path: &Path| format!("cannot read {}", path.display());
    for entry in fs::read_dir(folder).with_context(|| cannot_read(folder))? {
        let entry = entry.with_context(|| cannot_read(folder))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().with_context(|| cannot_read(&path))?;
        if kind.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
            collect(workspace, &path, sources)?;
        } else if kind.is_file() && is_ours(&path) {
            let text = fs::read_to_string(&path).with_context(|| cannot_read(&path))?;
            let relative = path.strip_prefix(workspace).unwrap_or(&path);
            sources.push(Source { path: relative.display().to_string(), text });
        }
    }
    Ok(())
}

fn is_ours(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("rs" | "toml" | "md"))
}
