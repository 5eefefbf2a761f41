//! A change of a lab, and its undo.

use anyhow::Result;

use crate::{
    script::{Script, run_all},
    traffic::{Sender, Traffic},
};

/// A change that is undone on drop.
#[derive(Debug)]
#[must_use = "dropping it undoes the change"]
pub struct Injection {
    undo: Vec<Script>,
    /// What the fault needs to be felt.
    traffic: Option<Traffic>,
}

// === impl Injection ===

impl Injection {
    /// Makes a change; the guard undoes it.
    ///
    /// # Errors
    /// When a script fails: then what was done is undone.
    pub fn apply(scripts: &[Script], undo: Vec<Script>) -> Result<Self> {
        let injection = Self { undo, traffic: None };
        run_all(scripts)?;
        Ok(injection)
    }

    /// The same with traffic of its own, for as long as it lasts.
    pub(super) fn with(mut self, senders: Vec<Sender>) -> Self {
        self.traffic = Some(Traffic::start(senders));
        self
    }

    /// Undoes the change now, and says whether it worked.
    ///
    /// # Errors
    /// The script that failed.
    pub fn heal(mut self) -> Result<()> {
        drop(self.traffic.take());
        run_all(&std::mem::take(&mut self.undo))
    }

    /// Leaves the change in place.
    pub fn leave(mut self) {
        self.undo.clear();
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        if let Err(error) = run_all(&self.undo) {
            eprintln!("a change of the lab could not be undone: {error:#}");
        }
    }
}
