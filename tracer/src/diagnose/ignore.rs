//! Findings that the operator does not want to hear of.

use std::str::FromStr;

use super::{RULES, joined, merge::Cause};

/// A code, or a code and a subject, to leave out: `CODE[=SUBJECT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    code: String,
    subject: Option<String>,
}

/// A code that no rule has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no finding '{0}'; this version has {1}")]
pub struct UnknownCode(String, String);

impl FromStr for Ignored {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (code, subject) = match text.split_once('=') {
            Some((code, subject)) => (code, Some(subject.to_owned())),
            None => (text, None),
        };
        let codes: Vec<&str> = RULES.iter().chain(&joined::RULES).map(|rule| rule.code).collect();
        if !codes.contains(&code) {
            return Err(UnknownCode(code.to_owned(), codes.join(", ")));
        }
        Ok(Self { code: code.to_owned(), subject })
    }
}

/// Takes the ignored causes out and says so.
pub(super) fn take_out(causes: &mut Vec<Cause>, ignored: &[Ignored]) -> Vec<String> {
    let mut lines = Vec::new();
    causes.retain(|cause| {
        let finding = &cause.judged.finding;
        let matches = |rule: &&Ignored| {
            rule.code == finding.code
                && rule.subject.as_ref().is_none_or(|subject| *subject == finding.subject.key)
        };
        let found = ignored.iter().find(matches);
        if found.is_some() {
            lines.push(format!("{} of {}: --ignore", finding.code, finding.subject.key));
        }
        found.is_none()
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            diagnose, diagnose_but,
            testing::{Pass, Plan},
        },
        *,
    };

    #[test]
    fn an_unknown_code_is_refused() {
        assert!("fdb-entry-mising".parse::<Ignored>().is_err());
        assert!("fdb-entry-missing=10.244.1.0/24".parse::<Ignored>().is_ok());
    }

    #[test]
    fn only_the_named_subject_is_left_out_and_its_peer_is_not_called_broken() {
        let mut evidence = Plan::of(3, Pass::Tables).evidence();
        evidence.tables.as_mut().unwrap().fdb.clear();
        let all = diagnose(&evidence).findings;
        assert_eq!(all.len(), 2);
        let one: Ignored = format!("fdb-entry-missing={}", all[0].subject.key).parse().unwrap();
        let rest = diagnose_but(&evidence, &[one]);
        assert_eq!(rest.findings, all[1..]);
        assert!(rest.unseen.iter().any(|line| line.ends_with("--ignore")));
        let everything = diagnose_but(&evidence, &["fdb-entry-missing".parse().unwrap()]);
        assert_eq!(everything.findings, []);
    }
}
