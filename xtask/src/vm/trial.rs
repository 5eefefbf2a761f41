//! Trials of the watch over the guests: one that panics, one that hangs and one that never says that
//! it booted must each be a failed row with its console's log, and not a run that is stuck.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::accelerator::Accelerator;
use super::console::Expected;
use super::guest::{Guest, Limits};
use super::kernel::Kernel;
use super::row::Row;
use super::table::Done;

/// Short, because nothing runs in these guests, and longer than an interpreted one is silent until
/// its init speaks.
const LIMITS: Limits = Limits { silence: Duration::from_secs(20), total: Duration::from_secs(150) };

/// What a panic says.
const PANIC: &str = "Kernel panic - not syncing";

/// How a guest is made to die, by its own init (`tests/src/bin/vm-init.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// Its kernel panics.
    Panic,
    /// It boots and says nothing more.
    Hang,
    /// Its init never speaks.
    Mute,
}

/// What came of a trial.
pub(super) struct Tried {
    /// The row of the guest that died.
    pub(super) done: Done,
    /// What is wrong with how that was told.
    pub(super) result: Result<()>,
}

// === impl Trial ===

impl Trial {
    pub(super) const ALL: [Self; 3] = [Self::Panic, Self::Hang, Self::Mute];

    /// Boots a guest of a row that dies so, and holds what is told of it against what it is. `image` is
    /// one that has nothing to run.
    pub(super) fn play(
        self,
        (row, kernel): (&Row, &Kernel),
        accelerator: Accelerator,
        image: &Path,
    ) -> Tried {
        let row = Row { append: format!("vm.trial={self}"), ..row.clone() };
        let log = image.with_file_name(format!("{}.log", row.file()));
        // One that is left from another run would pass for this one's.
        let _ = fs::remove_file(&log);
        eprintln!("vm: {row} boots");
        let (append, expected) = (row.append.as_str(), &Expected::default());
        let machine = (row.architecture, accelerator);
        let guest = Guest { kernel, image, machine, append, log: &log, expected };
        let result = guest.run(&LIMITS);
        let done = Done { row, result, log, at: Vec::new() };
        let console = fs::read(&done.log).context("its log");
        let result = console.and_then(|it| self.judge(&done, &String::from_utf8_lossy(&it)));
        Tried { done, result }
    }

    /// A failed row that is told as what it is, and a log that has what the guest said.
    fn judge(self, done: &Done, console: &str) -> Result<()> {
        let (words, expected) = (done.words(), self.words());
        ensure!(!done.is_good(), "it passes for a good guest: {words}");
        ensure!(words.starts_with(expected), "it is told as `{words}`, not `{expected}`");
        for (text, expected) in [(" booted ", self != Self::Mute), (PANIC, self == Self::Panic)] {
            let found = console.contains(text);
            ensure!(found == expected, "its log has `{text}`: {found}, not {expected}");
        }
        Ok(())
    }

    /// How its row begins.
    const fn words(self) -> &'static str {
        match self {
            Self::Panic => "FAILED: the kernel panicked: ",
            Self::Hang => "FAILED: it hung",
            Self::Mute => "FAILED: it never booted",
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Hang => "hang",
            Self::Mute => "mute",
        })
    }
}

// === impl Tried ===

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = &self.done.row;
        match &self.result {
            Ok(()) => write!(f, "{row}: told as it is: {}", self.done.words()),
            Err(error) => write!(f, "{row}: {error:#}; see {}", self.done.log.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::console::{self, Ending};
    use super::super::guest::Ran;
    use super::*;

    const BOOTED: &str = "vm 7af3 booted 6.1.0\r\n";
    const DIED: &str = "[ 9.1] Kernel panic - not syncing: sysrq triggered crash\r\n";
    const RAN: &str = "vm 7af3 suites 0 passed 0 failed 0\r\n";

    /// The row of a guest that says `console` and ends so.
    fn done(console: &str, ending: Ending) -> Done {
        let verdict = console::judge(console, "7af3", &Expected::default(), ending);
        let ran = Ran { verdict, took: Duration::ZERO, worked: None };
        let row = Row::usual("6.1", "");
        Done { row, result: Ok(ran), log: PathBuf::new(), at: Vec::new() }
    }

    fn wrong(trial: Trial, console: &str, ending: Ending) -> Option<String> {
        let judged = trial.judge(&done(console, ending), console);
        judged.err().map(|error| error.to_string())
    }

    #[test]
    fn each_death_is_its_own_trial_and_no_other() {
        let deaths = [
            (Trial::Panic, [BOOTED, DIED].concat(), Ending::Exit),
            (Trial::Hang, BOOTED.to_owned(), Ending::Silence),
            (Trial::Mute, "SeaBIOS\r\n".to_owned(), Ending::Silence),
        ];
        for (died, console, ending) in &deaths {
            for trial in Trial::ALL {
                let wrong = wrong(trial, console, *ending);
                assert_eq!(wrong.is_none(), trial == *died, "{died} for {trial}: {wrong:?}");
            }
        }
    }

    #[test]
    fn a_guest_that_lives_or_is_told_otherwise_is_wrong() {
        for trial in Trial::ALL {
            let lived = wrong(trial, &[BOOTED, RAN].concat(), Ending::Exit);
            assert!(lived.is_some_and(|it| it.contains("told as `FAILED: 0 of 0")), "{trial}");
            assert!(wrong(trial, BOOTED, Ending::Overtime).is_some(), "{trial}");
        }
    }

    #[test]
    fn a_log_without_what_the_guest_said_is_wrong() {
        let done = done(BOOTED, Ending::Silence);
        assert!(Trial::Hang.judge(&done, BOOTED).is_ok());
        assert!(Trial::Hang.judge(&done, "").is_err());
    }
}
