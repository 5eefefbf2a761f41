//! Totals of drops: each is counted once, whether its window could be judged or not.

use std::{collections::HashMap, time::Instant};

use tracer::{
    daemon::drops::DropTotals,
    diagnose::UNEXPLAINED,
    evidence::{Drop, DropFlow, DropOuter, DropPlace, Drops},
    kernel::DropReading,
};
use tracer_common::drop::PLACES;

use super::super::drops::Dropping;

/// What tells one entry of a window's drops from another.
type Name<'a> = (
    (Option<&'a str>, Option<&'a str>, Option<&'a str>),
    (DropPlace, u16, Option<DropFlow>, Option<DropOuter>),
);

/// What was dropped since the first window began.
pub(super) struct DroppedSoFar {
    totals: DropTotals,
    /// What was counted last, with the cause of each entry.
    last: Option<Counted>,
    /// Up to where drops are in the totals; zero where the programs have just been loaded.
    counted: DropReading,
    began: Instant,
}

/// What was dropped between two countings.
pub(super) struct Counted {
    pub(super) drops: Drops,
    /// Of each entry, in their order.
    pub(super) causes: Vec<&'static str>,
}

// === impl DroppedSoFar ===

impl DroppedSoFar {
    /// Nothing yet; at most `flows` flows will have a series.
    pub(super) fn new(flows: usize) -> Self {
        let totals = DropTotals::new(flows);
        Self { totals, last: None, counted: DropReading::default(), began: Instant::now() }
    }

    /// The program was loaded anew, and what it has counted until now is in the totals.
    pub(super) fn begin_at(&mut self, counted: DropReading) {
        self.counted = counted;
    }

    /// Whether so many places have dropped something that there is little room for more: devices come
    /// and go, and what has gone keeps its place.
    pub(super) fn is_crowded(&self) -> bool {
        self.counted.other > 0 || self.counted.places.len() >= PLACES as usize / 4 * 3
    }

    /// Counts what was dropped until `end`. `judged` are drops of the last window with their causes;
    /// what is none of these is unexplained. `devices` are those that have a role, `overlays`
    /// flannel's among them. Says what was counted.
    pub(super) fn count<'a>(
        &mut self,
        dropping: &Dropping,
        end: &DropReading,
        judged: impl Iterator<Item = (&'a Drop, &'static str)>,
        devices: &[&str],
        overlays: &[String],
    ) -> Option<&Counted> {
        let counted = std::mem::replace(&mut self.counted, end.clone());
        let readings = [counted.clone(), counted, end.clone()];
        let drops = dropping.between(&readings, overlays)?;
        let causes: HashMap<Name<'_>, &'static str> =
            judged.map(|(drop, cause)| (name(drop), cause)).collect();
        let cause = |drop: &Drop| causes.get(&name(drop)).copied().unwrap_or(UNEXPLAINED);
        let causes: Vec<&'static str> = drops.entries.iter().map(cause).collect();
        self.totals.add(self.began.elapsed().as_secs_f64(), &drops, &causes, devices);
        Some(self.last.insert(Counted { drops, causes }))
    }

    /// What was counted last.
    pub(super) fn take_last(&mut self) -> Option<Counted> {
        self.last.take()
    }

    /// The totals, for whoever exports them.
    pub(super) const fn totals(&self) -> &DropTotals {
        &self.totals
    }
}

// === impl Counted ===

impl Counted {
    /// Each entry with its cause.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Drop, &'static str)> {
        self.drops.entries.iter().zip(self.causes.iter().copied())
    }
}

fn name(drop: &Drop) -> Name<'_> {
    let words = (drop.reason.as_deref(), drop.symbol.as_deref(), drop.interface.as_deref());
    (words, (drop.place, drop.ethertype, drop.flow, drop.outer))
}

#[cfg(test)]
mod tests {
    use tracer::kernel::PlaceReading;
    use tracer_common::drop::DropKey;

    use super::*;

    #[test]
    fn it_is_crowded_where_a_place_found_no_room_or_few_would() {
        let of = |places: u32, other: u64| {
            let place = |n: u32| PlaceReading {
                at: DropKey::new(u64::from(n), 2, 3),
                ethertype: 0x0800,
                reason: None,
                symbol: None,
                device: None,
                packets: 1,
            };
            let mut dropped = DroppedSoFar::new(10);
            dropped.counted.places = (0..places).map(place).collect();
            dropped.counted.other = other;
            dropped.is_crowded()
        };
        assert_eq!([of(100, 0), of(383, 0), of(384, 0), of(5, 1)], [false, false, true, true]);
    }
}
