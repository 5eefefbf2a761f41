//! Musts that a processor cannot meet, each with its figure and the reason, in a committed file. There
//! the figure is the limit.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{budgets::Budget, machine::Machine};

const FILE: &str = include_str!("exceptions.toml");

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

/// One of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    budget: String,
    /// What the name of the processor holds.
    cpu: String,
    /// What was measured, with some room.
    limit: f64,
    /// Never empty.
    reason: String,
}

// === impl Exceptions ===

impl Exceptions {
    /// Reads the committed file.
    pub(crate) fn read() -> Result<Self> {
        let exceptions: Self = toml::from_str(FILE).context("exceptions.toml")?;
        for exception in &exceptions.exception {
            anyhow::ensure!(!exception.reason.is_empty(), "an exception without a reason");
        }
        Ok(exceptions)
    }

    /// What a budget is held to on this machine.
    pub(crate) fn limit(&self, budget: &Budget, machine: &Machine) -> f64 {
        let this = |it: &&Exception| it.budget == budget.id && machine.cpu.contains(&it.cpu);
        self.exception.iter().find(this).map_or(budget.must, |exception| exception.limit)
    }
}
