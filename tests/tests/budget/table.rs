//! The table, for readers and as JSON.

use std::fmt;

use serde::Serialize;

use crate::{budgets::Budget, machine::Machine, measure::Measured};

/// All figures of one run.
#[derive(Serialize)]
pub(crate) struct Table {
    pub(crate) machine: Machine,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    what: &'static str,
    ratio: f64,
    must: f64,
    aim: f64,
    /// The must, or what an exception says of this processor.
    limit: f64,
    program: &'static str,
    nanoseconds: f64,
    unit_nanoseconds: f64,
}

// === impl Table ===

impl Table {
    pub(crate) const fn of(machine: Machine) -> Self {
        Self { machine, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, budget: &Budget, limit: f64, measured: Measured) {
        let Budget { id, what, must, aim, .. } = *budget;
        let Measured { program, ratio, nanoseconds, unit } = measured;
        let row =
            Row { id, what, ratio, must, aim, limit, program, nanoseconds, unit_nanoseconds: unit };
        self.rows.push(row);
    }

    /// Budgets that are not met.
    pub(crate) fn missed(&self) -> Vec<&'static str> {
        self.rows.iter().filter(|row| row.ratio > row.limit).map(|row| row.id).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.line())?;
        writeln!(f, "id   ratio  must   aim  worst program    ns  unit ns  what")?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<4} {:>5.2} {:>5.2} {:>5.2}  {:<13} {:>5.1}  {:>7.1}  {}",
                row.id,
                row.ratio,
                row.limit,
                row.aim,
                row.program,
                row.nanoseconds,
                row.unit_nanoseconds,
                row.what
            )?;
        }
        Ok(())
    }
}
