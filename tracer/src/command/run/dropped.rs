//! Totals of drops: each is counted once, whether its window could be judged or not.

use std::{collections::HashMap, time::Instant};

use tracer::{
    daemon::drops::DropTotals,
    diagnose::UNEXPLAINED,
    evidence::{Drop, DropFlow, DropOuter, DropPlace},
    kernel::DropReading,
};

use super::super::drops::Dropping;

/// What tells one entry of a window's drops from another.
type Name<'a> = (
    (Option<&'a str>, Option<&'a str>, Option<&'a str>),
    (DropPlace, u16, Option<DropFlow>, Option<DropOuter>),
);

/// What was dropped since the daemon began.
pub(super) struct Dropped {
    totals: DropTotals,
    /// Up to where drops are in the totals; zero where the programs have just been loaded.
    counted: DropReading,
    began: Instant,
}

// === impl Dropped ===

impl Dropped {
    /// Nothing yet; at most `flows` flows will have a series.
    pub(super) fn new(flows: usize) -> Self {
        let totals = DropTotals::new(flows);
        Self { totals, counted: DropReading::default(), began: Instant::now() }
    }

    /// The program was loaded anew: it counts from zero.
    pub(super) fn begin_anew(&mut self) {
        self.counted = DropReading::default();
    }

    /// Counts what was dropped until `end`. `judged` are drops of the last window with their causes;
    /// what is none of these is unexplained. `devices` are those that have a role, `overlays`
    /// flannel's among them.
    pub(super) fn count<'a>(
        &mut self,
        dropping: &Dropping,
        end: &DropReading,
        judged: impl Iterator<Item = (&'a Drop, &'static str)>,
        devices: &[&str],
        overlays: &[String],
    ) {
        let counted = std::mem::replace(&mut self.counted, end.clone());
        let readings = [counted.clone(), counted, end.clone()];
        let Some(drops) = dropping.between(&readings, overlays) else { return };
        let causes: HashMap<Name<'_>, &'static str> =
            judged.map(|(drop, cause)| (name(drop), cause)).collect();
        let cause = |drop: &Drop| causes.get(&name(drop)).copied().unwrap_or(UNEXPLAINED);
        let causes: Vec<&'static str> = drops.entries.iter().map(cause).collect();
        self.totals.add(self.began.elapsed().as_secs_f64(), &drops, &causes, devices);
    }

    /// The totals, for whoever exports them.
    pub(super) const fn totals(&self) -> &DropTotals {
        &self.totals
    }
}

fn name(drop: &Drop) -> Name<'_> {
    let words = (drop.reason.as_deref(), drop.symbol.as_deref(), drop.interface.as_deref());
    (words, (drop.place, drop.ethertype, drop.flow, drop.outer))
}
