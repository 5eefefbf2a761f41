//! The list of tests that take long: `SUITE TEST SECONDS` a line, `#` comments. Every change plays as
//! many of them as it has time for, drawn from its seed.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tracer_tests::sample::affordable;

use crate::shell;

/// Where the list is, from the workspace's folder.
const FILE: &str = "tests/slow-tests.txt";
/// What takes longer belongs on the list.
const SLOW: Duration = Duration::from_secs(10);
/// Seconds of them that a change has time for.
const ALLOWANCE: u64 = 150;

/// The tests that take long.
pub(crate) struct SlowTests(Vec<SlowTest>);

#[derive(Debug, PartialEq, Eq)]
struct SlowTest {
    suite: String,
    name: String,
    seconds: u64,
}

// === impl SlowTests ===

impl SlowTests {
    /// Reads the list.
    pub(crate) fn read() -> Result<Self> {
        let path = shell::workspace().join(FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).context(FILE)
    }

    /// Reads a list; an error names the line.
    fn parse(text: &str) -> Result<Self> {
        let lines = (1..).zip(text.lines());
        let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let read = |(number, line): (usize, &str)| {
            entry(line).with_context(|| {
                format!("line {number}: expected `SUITE TEST SECONDS`, found `{line}`")
            })
        };
        entries.map(read).collect::<Result<_>>().map(Self)
    }

    /// What the change of this seed leaves to others.
    pub(crate) fn left_by(&self, seed: u64) -> LeftOut {
        let seconds: Vec<u64> = self.0.iter().map(|it| it.seconds).collect();
        let drawn = affordable(&seconds, ALLOWANCE, seed);
        let left = (0..).zip(&self.0).filter(|(index, _)| !drawn.contains(index));
        LeftOut(left.map(|(_, it)| (it.suite.clone(), it.name.clone())).collect())
    }

    /// The line of a test that should be on the list and is not.
    pub(crate) fn lacks(&self, suite: &str, name: &str, took: Duration) -> Option<String> {
        let is_listed = self.0.iter().any(|it| (&*it.suite, &*it.name) == (suite, name));
        (took > SLOW && !is_listed).then(|| format!("{suite} {name} {}", took.as_secs()))
    }
}

/// Slow tests that are not played, by suite.
#[derive(Default)]
pub(crate) struct LeftOut(BTreeSet<(String, String)>);

// === impl LeftOut ===

impl LeftOut {
    /// Those of a suite.
    pub(crate) fn of<'a>(&'a self, suite: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |it| it.0 == suite).map(|it| &*it.1)
    }

    /// How many there are; `None` without any.
    pub(crate) fn words(&self) -> Option<String> {
        let left = self.0.len();
        let words = format!("{left} of {FILE} were not drawn: `cargo xtask test --all` plays all");
        (left > 0).then_some(words)
    }

    /// What to say when a suite has left out another number of tests than it was told to.
    pub(crate) fn complaint(&self, suite: &str, left_out: usize) -> Option<String> {
        let told = self.of(suite).count();
        (told != left_out).then(|| {
            format!("{FILE} has tests that {suite} has not: {left_out} of {told} are known there")
        })
    }
}

fn entry(line: &str) -> Option<SlowTest> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [suite, name, seconds] = words[..] else { return None };
    let seconds = seconds.parse().ok()?;
    Some(SlowTest { suite: suite.to_owned(), name: name.to_owned(), seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# why\n\ndaemon a::b 200\ndaemon c 150\nvips d 120\n";

    #[test]
    fn the_repository_s_own_list_is_well_formed_and_each_test_has_its_turn() {
        let list = SlowTests::read().expect("tests/slow-tests.txt");
        assert!(list.0.iter().all(|it| it.seconds <= ALLOWANCE));
        let left = |seed| list.left_by(seed).0;
        let never = (1..200).map(left).reduce(|all, other| &all & &other);
        assert_eq!(never, Some(BTreeSet::new()));
    }

    #[test]
    fn a_change_plays_as_many_as_it_has_time_for_and_names_the_others() {
        let list = SlowTests::parse(LIST).expect("valid");
        for seed in 0..20 {
            let left = list.left_by(seed);
            let is_left = |it: &&SlowTest| left.of(&it.suite).any(|name| name == it.name);
            let (others, played): (Vec<_>, Vec<_>) = list.0.iter().partition(is_left);
            let seconds: u64 = played.iter().map(|it| it.seconds).sum();
            assert!(seconds <= ALLOWANCE, "{seconds}");
            let has_time = |it: &&SlowTest| seconds + it.seconds <= ALLOWANCE;
            assert!(!others.iter().any(has_time), "{seconds}");
            assert!(left.words().expect("some").starts_with(&left.0.len().to_string()));
        }
        assert_eq!(LeftOut::default().words(), None);
    }

    #[test]
    fn a_test_that_a_suite_does_not_know_is_complained_about() {
        let left = LeftOut(BTreeSet::from([("daemon".to_owned(), "gone".to_owned())]));
        assert_eq!(left.complaint("daemon", 1), None);
        assert_eq!(left.complaint("vips", 0), None);
        assert!(left.complaint("daemon", 0).expect("one").contains("0 of 1"));
    }

    #[test]
    fn what_takes_long_and_is_not_listed_is_named_as_its_line_would_be() {
        let list = SlowTests::parse(LIST).expect("valid");
        let [long, short] = [27, 3].map(Duration::from_secs);
        assert_eq!(list.lacks("vips", "e", long).as_deref(), Some("vips e 27"));
        assert_eq!(list.lacks("vips", "e", short), None);
        assert_eq!(list.lacks("vips", "d", long), None);
    }

    #[test]
    fn a_line_without_seconds_is_refused_by_its_number() {
        let error = SlowTests::parse("# why\ndaemon a::b\n").err().expect("no seconds");
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }
}
