//! The life of a finding: it opens when two windows in a row say it, is held, and closes when two
//! windows in a row do not. One that keeps coming back closes ever later, so that what flaps is
//! told once and not at every turn. Pure: time is passed in.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::diagnose::{Finding, Precision};

/// Windows in a row that have to agree.
const CONFIRM: u32 = 2;
/// A finding that comes back within this time is the same trouble again.
const MEMORY: SignedDuration = SignedDuration::from_hours(1);
/// How often the windows that close a finding are doubled at most.
const MOST_DOUBLINGS: u32 = 5;
/// Held findings are told again after this time.
const REMINDER: SignedDuration = SignedDuration::from_mins(10);

/// A finding's code and the key of its subject.
pub type Name = (&'static str, String);

/// All findings of a node, by name.
#[derive(Debug, Default)]
pub struct Lives {
    suspected: BTreeMap<Name, Suspicion>,
    open: BTreeMap<Name, Life>,
    past: BTreeMap<Name, Past>,
    last_look: Option<Timestamp>,
}

/// What a window said.
#[derive(Debug)]
pub struct Look {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Everything was observed from the window's start to its end. In any other window what is not
    /// found may be there all the same.
    pub complete: bool,
    /// When the window began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

/// What is to be told of a finding.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// It has been confirmed.
    Opened(Finding),
    /// It still holds, some time after it was told last.
    Held(Finding),
    /// It holds no more.
    Closed(Finding),
}

#[derive(Debug)]
struct Suspicion {
    seen: u32,
    since: crate::diagnose::Since,
}

/// An open finding.
#[derive(Debug)]
struct Life {
    finding: Finding,
    missed: u32,
    patience: u32,
    told: Timestamp,
}

/// A finding that was open lately.
#[derive(Debug)]
struct Past {
    openings: u32,
    closed: Timestamp,
}

// === impl Turn ===

impl Turn {
    /// The finding.
    #[must_use]
    pub const fn finding(&self) -> &Finding {
        match self {
            Self::Opened(finding) | Self::Held(finding) | Self::Closed(finding) => finding,
        }
    }
}

// === impl Lives ===

impl Lives {
    /// Takes in what a window said, and says what is to be told.
    pub fn look(&mut self, look: Look) -> Vec<Turn> {
        let now = look.end;
        self.past.retain(|_, past| now.duration_since(past.closed) < MEMORY);
        let mut turns = Vec::new();
        let mut seen: BTreeMap<Name, Finding> =
            look.findings.iter().map(|finding| (name(finding), finding.clone())).collect();
        if look.complete {
            self.miss(&seen, now, &mut turns);
        }
        for (name, finding) in std::mem::take(&mut seen) {
            turns.extend(self.see(name, finding, now));
        }
        self.last_look = Some(look.start);
        turns
    }

    /// The open findings, in the order of their names.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.open.values().map(|life| &life.finding)
    }

    fn see(&mut self, name: Name, mut finding: Finding, now: Timestamp) -> Option<Turn> {
        if let Some(life) = self.open.get_mut(&name) {
            finding.since = life.finding.since.clone();
            life.finding = finding.clone();
            life.missed = 0;
            if now.duration_since(life.told) < REMINDER {
                return None;
            }
            life.told = now;
            return Some(Turn::Held(finding));
        }
        let last_look = self.last_look;
        let suspicion = self
            .suspected
            .entry(name.clone())
            .or_insert_with(|| Suspicion { seen: 0, since: bounded(&finding, last_look) });
        suspicion.seen += 1;
        if suspicion.seen < CONFIRM {
            return None;
        }
        finding.since = suspicion.since.clone();
        self.suspected.remove(&name);
        let openings = self.past.get(&name).map_or(0, |past| past.openings);
        let patience = CONFIRM << openings.min(MOST_DOUBLINGS);
        self.past.insert(name.clone(), Past { openings: openings + 1, closed: now });
        self.open.insert(name, Life { finding: finding.clone(), missed: 0, patience, told: now });
        Some(Turn::Opened(finding))
    }

    /// Whatever a complete window did not say.
    fn miss(&mut self, seen: &BTreeMap<Name, Finding>, now: Timestamp, turns: &mut Vec<Turn>) {
        self.suspected.retain(|name, _| seen.contains_key(name));
        for (name, life) in &mut self.open {
            if !seen.contains_key(name) {
                life.missed += 1;
            }
        }
        let past = &mut self.past;
        self.open.retain(|name, life| {
            let gone = life.missed >= life.patience;
            if gone {
                past.entry(name.clone()).and_modify(|past| past.closed = now);
                turns.push(Turn::Closed(life.finding.clone()));
            }
            !gone
        });
    }
}

fn name(finding: &Finding) -> Name {
    (finding.code, finding.subject.key.clone())
}

/// What a window before did not say cannot have begun before it.
fn bounded(finding: &Finding, last_look: Option<Timestamp>) -> crate::diagnose::Since {
    let mut since = finding.since.clone();
    if since.time.is_none() && since.not_before < last_look {
        since.not_before = last_look;
        since.precision = Precision::Bounded;
    }
    since
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::diagnose::{
        diagnose,
        testing::{Pass, Plan},
    };

    const WINDOW: i64 = 5;

    /// Windows one after the other.
    struct Windows {
        lives: Lives,
        number: i64,
    }

    impl Windows {
        fn new() -> Self {
            Self { lives: Lives::default(), number: 0 }
        }

        fn look_at(&mut self, findings: &[Finding], complete: bool) -> Vec<Turn> {
            let at = |number: i64| Timestamp::from_second(1_800_000_000 + number * WINDOW).unwrap();
            let (start, end) = (at(self.number), at(self.number + 1));
            self.number += 1;
            self.lives.look(Look { findings: findings.to_vec(), complete, start, end })
        }

        fn look(&mut self, findings: &[Finding]) -> Vec<Turn> {
            self.look_at(findings, true)
        }
    }

    fn finding() -> Finding {
        let mut evidence = Plan::of(2, Pass::Tables).evidence();
        evidence.tables.as_mut().unwrap().fdb.clear();
        diagnose(&evidence).findings.remove(0)
    }

    #[test]
    fn a_finding_opens_when_two_windows_say_it_and_closes_when_two_do_not() {
        let (mut windows, finding) = (Windows::new(), finding());
        assert_eq!(windows.look(&[]), []);
        assert_eq!(windows.look(from_ref(&finding)), []);
        let [Turn::Opened(opened)] = &windows.look(from_ref(&finding))[..] else {
            panic!("it did not open")
        };
        assert_eq!(opened.code, finding.code);
        assert_eq!(windows.lives.open().count(), 1);
        assert_eq!(windows.look(&[]), []);
        assert!(matches!(&windows.look(&[])[..], [Turn::Closed(_)]));
        assert_eq!(windows.lives.open().count(), 0);
    }

    #[test]
    fn one_window_alone_says_nothing() {
        let (mut windows, finding) = (Windows::new(), finding());
        for _ in 0..10 {
            assert_eq!(windows.look(from_ref(&finding)), []);
            assert_eq!(windows.look(&[]), []);
        }
    }

    #[test]
    fn since_lies_between_the_last_window_without_it_and_the_first_with_it() {
        let (mut windows, finding) = (Windows::new(), finding());
        windows.look(&[]);
        windows.look(from_ref(&finding));
        let Turn::Opened(opened) = windows.look(from_ref(&finding)).remove(0) else {
            panic!("it did not open")
        };
        let first = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(opened.since.not_before, Some(first));
        assert_eq!(opened.since.precision, Precision::Bounded);
        let mut later = finding.clone();
        later.since.not_after = Some(Timestamp::from_second(1_900_000_000).unwrap());
        windows.look(&[later]);
        assert_eq!(windows.lives.open().next().unwrap().since, opened.since, "it keeps its since");
    }

    #[test]
    fn a_fault_older_than_the_daemon_keeps_what_the_rule_says_of_its_begin() {
        let (mut windows, finding) = (Windows::new(), finding());
        windows.look(from_ref(&finding));
        windows.look(from_ref(&finding));
        assert_eq!(windows.lives.open().next().unwrap().since, finding.since);
    }

    #[test]
    fn what_was_not_looked_at_is_not_gone() {
        let (mut windows, finding) = (Windows::new(), finding());
        windows.look(from_ref(&finding));
        windows.look(from_ref(&finding));
        for _ in 0..50 {
            assert_eq!(windows.look_at(&[], false), []);
        }
        assert_eq!(windows.lives.open().count(), 1);
    }

    #[test]
    fn a_held_finding_is_told_again_every_ten_minutes() {
        let (mut windows, finding) = (Windows::new(), finding());
        let turns: Vec<Turn> = (0..361).flat_map(|_| windows.look(from_ref(&finding))).collect();
        let held = turns.iter().filter(|turn| matches!(turn, Turn::Held(_))).count();
        assert_eq!((turns.len(), held), (3, 2), "half an hour of windows");
    }

    #[test]
    fn what_flaps_is_told_a_few_times_an_hour() {
        let (mut windows, finding) = (Windows::new(), finding());
        let mut opened = 0;
        for number in 0..720 {
            let seen = if number % 4 < 2 { vec![finding.clone()] } else { Vec::new() };
            let turns = windows.look(&seen);
            opened += turns.iter().filter(|turn| matches!(turn, Turn::Opened(_))).count();
        }
        assert!(opened <= 2, "opened {opened} times in an hour");
    }
}
