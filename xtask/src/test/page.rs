//! What a run showed, as a page for the documentation.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tracer_tests::published::published;

use super::report::Counts;

/// What the suites of the lab showed.
pub(super) struct Tables {
    folder: TempDir,
    suites: Vec<Shown>,
}

/// How a suite ended.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) suite: String,
    pub(super) counts: Counts,
    pub(super) took: Duration,
    /// Of which commits, and when.
    pub(super) at: Vec<String>,
    /// What it left for the page.
    pub(super) table: Option<String>,
}

// === impl Tables ===

impl Tables {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the suites' tables")?;
        Ok(Self { folder, suites: Vec::new() })
    }

    /// Where suites leave their tables.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The table that a suite left, if it left one.
    pub(super) fn of(&self, suite: &str) -> Result<Option<String>> {
        published(self.folder(), suite).with_context(|| format!("cannot read the table of {suite}"))
    }

    /// Takes over how a suite ended.
    pub(super) fn add(&mut self, shown: Shown) {
        self.suites.push(shown);
    }

    fn text(&self) -> String {
        let mut all = Table::new();
        all.load_style(presets::ASCII_MARKDOWN);
        all.set_header(["suite", "commit", "passed", "failed", "skipped", "took"]);
        for Shown { suite, counts, took, at, .. } in &self.suites {
            let numbers = [counts.passed, counts.failed, counts.skipped].map(|it| it.to_string());
            let took = format!("{} s", took.as_secs());
            all.add_row([suite.clone(), at.join("; ")].into_iter().chain(numbers).chain([took]));
        }
        let tables = self.suites.iter().filter_map(|it| Some((&it.suite, it.table.as_ref()?)));
        let tables: String =
            tables.map(|(suite, table)| format!("\n## {suite}\n\n{table}")).collect();
        format!("## Suites of the lab\n\n{all}\n{tables}")
    }
}

/// The page: `words` are the options that say what ran, `report` is what was printed at its end.
pub(super) fn page(words: &str, report: &str, tables: &Tables) -> String {
    let today = jiff::Zoned::now().date();
    let kernel = tracer_tests::kernel::release();
    let tables = if tables.suites.is_empty() { String::new() } else { tables.text() };
    format!(
        "# Tests\n\nWhat `cargo xtask test{words}` said on {today}, on Linux {kernel}.\n\n\
         ```text\n{report}```\n\n{tables}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_line_for_each_suite_and_the_tables_that_they_left() {
        let mut tables = Tables::new().expect("a folder");
        std::fs::write(tables.folder().join("faults.md"), "| a |\n").expect("the folder");
        let counts = Counts { passed: 3, failed: 0, skipped: 1 };
        for suite in ["attach", "faults"] {
            let table = tables.of(suite).expect("readable");
            let (suite, took) = (suite.to_owned(), Duration::from_secs(7));
            tables.add(Shown { suite, counts, took, at: vec!["c0ffee".to_owned()], table });
        }
        let page = page(" --all", "6 passed\n", &tables);
        assert!(page.contains("What `cargo xtask test --all` said on "), "{page}");
        assert!(page.contains("```text\n6 passed\n```\n"), "{page}");
        assert!(page.contains("| attach | c0ffee | 3      | 0      | 1       | 7 s  |"), "{page}");
        assert!(page.ends_with("\n## faults\n\n| a |\n"), "{page}");
    }
}
