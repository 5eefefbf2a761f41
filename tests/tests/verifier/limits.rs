//! What the verifier may take for each program, and what it may refuse, in a committed file.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{effort::Effort, machine::Machine, privileges::Privileges};

const FILE: &str = include_str!("limits.toml");

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    programs: BTreeMap<String, Limit>,
    #[serde(default)]
    refusal: Vec<Refusal>,
}

/// Of one program, on any kernel and with any privileges.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// Instructions that the verifier may go through.
    pub(crate) instructions: u64,
    /// Bytes of stack, of the deepest chain of calls.
    pub(crate) stack: u64,
    /// Newer kernels take so much more for it that nothing can be said of what older ones take.
    #[serde(default)]
    newer: bool,
}

/// What some kernels do not take, by their design.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refusal {
    /// Empty for all.
    #[serde(default)]
    programs: Vec<String>,
    /// `None` for any.
    privileges: Option<Privileges>,
    /// Kernels older than this one, `MAJOR.MINOR`; `None` for any.
    before: Option<String>,
    /// Only where the kernel is locked down for confidentiality.
    #[serde(default)]
    lockdown: bool,
    /// Among the kernel's words.
    words: String,
    /// Why this is so and what it means. Never empty.
    pub(crate) reason: String,
}

// === impl Limits ===

impl Limits {
    /// Reads the committed file.
    pub(crate) fn read() -> Result<Self> {
        Self::parse(FILE)
    }

    fn parse(text: &str) -> Result<Self> {
        let limits: Self = toml::from_str(text).context("limits.toml")?;
        for refusal in &limits.refusal {
            ensure!(!refusal.reason.is_empty(), "limits.toml: a refusal without a reason");
            let before = refusal.before.as_deref();
            ensure!(
                before.is_none_or(|it| version(it).is_some()),
                "limits.toml: {before:?} is no kernel"
            );
        }
        Ok(limits)
    }

    /// Of a program.
    pub(crate) fn of(&self, program: &str) -> Option<Limit> {
        self.programs.get(program).copied()
    }

    /// Names that no program has.
    pub(crate) fn strangers(&self, programs: &[String]) -> Vec<&str> {
        let names = self.programs.keys().map(String::as_str);
        names.filter(|name| !programs.iter().any(|program| program == name)).collect()
    }

    /// What allows the kernel to refuse a program with these words.
    pub(crate) fn refusal(
        &self,
        program: &str,
        privileges: Privileges,
        machine: &Machine,
        words: &str,
    ) -> Option<&Refusal> {
        self.refusal.iter().find(|refusal| refusal.covers(program, privileges, machine, words))
    }

    /// Whether this machine must refuse a program, because it is locked down.
    pub(crate) fn is_forbidden(&self, program: &str, machine: &Machine) -> bool {
        let mut by_lockdown = self.refusal.iter().filter(|it| it.lockdown);
        machine.is_locked_down && by_lockdown.any(|it| it.programs.iter().any(|it| it == program))
    }
}

// === impl Limit ===

impl Limit {
    /// Whether a program stays within it.
    pub(crate) fn holds(self, effort: &Effort) -> bool {
        effort.instructions <= self.instructions && effort.stack <= self.stack
    }

    /// Whether it is more than twice of what a program needs, and so would not see it grow.
    pub(crate) fn is_loose(self, effort: &Effort) -> bool {
        let is_long = self.instructions > 2 * effort.instructions && !self.newer;
        is_long || self.stack > 2 * effort.stack
    }
}

// === impl Refusal ===

impl Refusal {
    fn covers(
        &self,
        program: &str,
        privileges: Privileges,
        machine: &Machine,
        words: &str,
    ) -> bool {
        let older = |before: &str| version(before) > version(&machine.release);
        (self.programs.is_empty() || self.programs.iter().any(|name| name == program))
            && self.privileges.is_none_or(|only| only == privileges)
            && self.before.as_deref().is_none_or(older)
            && (!self.lockdown || machine.is_locked_down)
            && words.contains(&self.words)
    }
}

/// The two numbers that a kernel's release begins with.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [programs.a]
        instructions = 100
        stack = 64

        [[refusal]]
        privileges = "least"
        before = "6.2"
        words = "prohibited"
        reason = "old"

        [[refusal]]
        programs = ["b"]
        lockdown = true
        words = "helper"
        reason = "locked"
    "#;

    fn on(release: &str, is_locked_down: bool) -> Machine {
        Machine { release: release.to_owned(), is_locked_down }
    }

    #[test]
    fn instructions_and_stack_are_both_held() {
        let limit = Limits::parse(TEXT).unwrap().of("a").unwrap();
        let effort = |instructions, stack| Effort { instructions, stack };
        assert!(limit.holds(&effort(100, 64)));
        assert!(!limit.holds(&effort(101, 0)));
        assert!(!limit.holds(&effort(1, 65)));
        assert!(!limit.is_loose(&effort(50, 32)));
        assert!(limit.is_loose(&effort(49, 64)) && limit.is_loose(&effort(100, 31)));
        let newer = Limit { newer: true, ..limit };
        assert!(!newer.is_loose(&effort(49, 64)) && newer.is_loose(&effort(49, 31)));
    }

    #[test]
    fn what_lockdown_forbids_is_forbidden_there_and_nowhere_else() {
        let limits = Limits::parse(TEXT).unwrap();
        assert!(limits.is_forbidden("b", &on("6.12.0", true)));
        assert!(!limits.is_forbidden("b", &on("6.12.0", false)));
        assert!(!limits.is_forbidden("a", &on("6.12.0", true)));
    }

    #[test]
    fn an_entry_without_a_program_and_a_program_without_an_entry_are_seen() {
        let limits = Limits::parse(TEXT).unwrap();
        assert!(limits.of("b").is_none());
        assert_eq!(limits.strangers(&["b".to_owned()]), ["a"]);
        assert!(limits.strangers(&["a".to_owned()]).is_empty());
    }

    #[test]
    fn a_refusal_is_expected_only_with_its_kernel_its_privileges_and_its_words() {
        let limits = Limits::parse(TEXT).unwrap();
        let expected = |program, privileges, machine: &Machine, words| {
            limits.refusal(program, privileges, machine, words).map(|it| it.reason.as_str())
        };
        let (old, new) = (on("6.1.0-44-cloud-amd64", false), on("6.2-rc1", false));
        assert_eq!(expected("a", Privileges::Least, &old, "R3 prohibited"), Some("old"));
        assert_eq!(expected("a", Privileges::All, &old, "R3 prohibited"), None);
        assert_eq!(expected("a", Privileges::Least, &new, "R3 prohibited"), None);
        assert_eq!(expected("a", Privileges::Least, &old, "R3 is bad"), None);
        let locked = on("6.12.0", true);
        assert_eq!(expected("b", Privileges::All, &locked, "no such helper"), Some("locked"));
        assert_eq!(expected("b", Privileges::All, &on("6.12.0", false), "no such helper"), None);
        assert_eq!(expected("a", Privileges::All, &locked, "no such helper"), None);
    }

    #[test]
    fn the_file_must_give_reasons_and_kernels() {
        assert!(Limits::parse(&TEXT.replace("\"old\"", "\"\"")).is_err());
        assert!(Limits::parse(&TEXT.replace("\"6.2\"", "\"six\"")).is_err());
    }
}
