//! What the programs cost a packet, in units of a minimal program that counts flows, against the
//! budgets. Every figure is a ratio of programs that ran in turn on the same processor; the best of
//! three tries counts, because a neighbour's noise only ever adds.
//!
//! `FLANNEL_TRACER_BENCH_JSON=FILE` writes the table as JSON too.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod budgets;
mod exceptions;
mod in_situ;
mod machine;
mod measure;
mod packets;
mod programs;
mod table;

use std::{env, fs, thread};

use self::{
    budgets::{BUDGETS, Budget},
    exceptions::Exceptions,
    machine::Machine,
    measure::Measured,
    programs::Programs,
    table::Table,
};

/// How often a budget is measured before it counts as missed.
const TRIES: usize = 3;

#[test]
fn every_must_is_met() {
    // A thread of its own, because it moves into a network namespace of its own for good.
    let table = thread::spawn(measure_all).join().unwrap();
    eprint!("\n{table}");
    if let Some(file) = env::var_os("FLANNEL_TRACER_BENCH_JSON") {
        fs::write(file, serde_json::to_string_pretty(&table).unwrap()).unwrap();
    }
    assert!(table.missed().is_empty(), "over budget: {:?}", table.missed());
}

fn measure_all() -> Table {
    let programs = Programs::load().unwrap();
    let machine = Machine::this();
    let exceptions = Exceptions::read().unwrap();
    let mut table = Table::of(machine);
    for budget in &BUDGETS {
        let limit = exceptions.limit(budget, &table.machine);
        table.add(budget, limit, best(&programs, budget, limit));
    }
    table
}

/// The best of a few tries; the first that is within the limit ends them.
fn best(programs: &Programs, budget: &Budget, limit: f64) -> Measured {
    let mut best: Option<Measured> = None;
    for _ in 0..TRIES {
        let measured = budget.measure(programs).unwrap();
        if best.as_ref().is_none_or(|best| measured.ratio < best.ratio) {
            best = Some(measured);
        }
        if best.as_ref().is_some_and(|best| best.ratio <= limit) {
            break;
        }
    }
    best.unwrap()
}
