//! The list of skips that are allowed: `TIER NAME REASON` a line, `#` comments.

use std::fs;

use anyhow::{Context as _, Result};

use crate::shell;

/// The skips that do not fail the suite.
pub(crate) struct AllowedSkips(Vec<(String, String)>);

// === impl AllowedSkips ===

impl AllowedSkips {
    /// Reads `tests/allowed-skips.txt`.
    pub(crate) fn read() -> Result<Self> {
        let path = shell::workspace().join("tests/allowed-skips.txt");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads the list; an error names the line.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().enumerate();
        let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        entries
            .map(|(index, line)| {
                entry(line).with_context(|| {
                    format!("line {}: expected `TIER NAME REASON`, found `{line}`", index + 1)
                })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether this test or check of this tier may be skipped.
    pub(crate) fn contains(&self, tier: &str, name: &str) -> bool {
        self.0.iter().any(|entry| entry.0 == tier && entry.1 == name)
    }
}

fn entry(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let (tier, name) = (words.next()?, words.next()?);
    // A skip that nobody can give a reason for is not allowed.
    words.next()?;
    Some((tier.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_s_own_list_is_well_formed() {
        AllowedSkips::read().expect("tests/allowed-skips.txt");
    }

    #[test]
    fn an_entry_allows_one_name_in_one_tier() {
        let allowed = AllowedSkips::parse("# why\n\nlint advisories no network\n").expect("valid");
        assert!(allowed.contains("lint", "advisories"));
        assert!(!allowed.contains("unit", "advisories"));
        assert!(!allowed.contains("lint", "bans"));
    }

    #[test]
    fn a_skip_without_a_reason_is_refused_by_its_line() {
        let error = AllowedSkips::parse("# why\nlint advisories\n").err().expect("no reason");
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }
}
