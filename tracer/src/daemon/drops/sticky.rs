//! A series for each of few flows, and one for all others. Pure.
//!
//! The first flows that lose packets get the series and keep them: a list of the greatest would
//! change its members, and a counter that comes and goes cannot be read as a rate. What finds no
//! series, and what a series had counted when its flow had been idle for long, is in `other`, so that
//! the sum of all is the number of packets at any time.

use std::collections::BTreeMap;

/// Series for flows of type `K`.
#[derive(Debug, Clone)]
pub struct Sticky<K> {
    most: usize,
    idle: f64,
    series: BTreeMap<K, Series>,
    other: u64,
}

#[derive(Debug, Clone, Copy)]
struct Series {
    packets: u64,
    /// Seconds on the caller's clock.
    last: f64,
}

// === impl Sticky ===

impl<K: Ord + Clone> Sticky<K> {
    /// At most `most` flows have a series, and each until it has lost nothing for `idle` seconds.
    #[must_use]
    pub const fn new(most: usize, idle: f64) -> Self {
        Self { most, idle, series: BTreeMap::new(), other: 0 }
    }

    /// Adds what flows lost until `now`, in seconds of a clock that never goes back, and what was lost
    /// of no known flow. Of flows that are new the first ones get a series, as long as there are any.
    pub fn add(&mut self, now: f64, flows: impl IntoIterator<Item = (K, u64)>, unknown: u64) {
        self.other += unknown;
        let mut new = Vec::new();
        for (flow, packets) in flows {
            match self.series.get_mut(&flow) {
                Some(series) => {
                    series.packets += packets;
                    series.last = now;
                }
                None => new.push((flow, packets)),
            }
        }
        self.expire(now);
        for (flow, packets) in new {
            self.begin(now, flow, packets);
        }
    }

    /// Packets of each flow that has a series, in the order of flows.
    pub fn series(&self) -> impl Iterator<Item = (&K, u64)> {
        self.series.iter().map(|(flow, series)| (flow, series.packets))
    }

    /// Packets of all other flows, and of those that have been idle.
    #[must_use]
    pub const fn other(&self) -> u64 {
        self.other
    }

    fn begin(&mut self, now: f64, flow: K, packets: u64) {
        if packets == 0 {
            return;
        }
        // It may have come twice in one call.
        if self.series.len() < self.most || self.series.contains_key(&flow) {
            let series = self.series.entry(flow).or_insert(Series { packets: 0, last: now });
            series.packets += packets;
        } else {
            self.other += packets;
        }
    }

    fn expire(&mut self, now: f64) {
        let idle = self.idle;
        let expired = self.series.extract_if(.., |_, series| now - series.last >= idle);
        self.other += expired.map(|(_, series)| series.packets).sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const HOUR: f64 = 3600.0;

    fn sum(drops: &Sticky<u32>) -> u64 {
        drops.series().map(|(_, packets)| packets).sum::<u64>() + drops.other()
    }

    #[test]
    fn the_first_flows_keep_their_series_and_later_ones_are_other() {
        let mut drops = Sticky::new(2, HOUR);
        drops.add(0.0, [(1, 5), (2, 1)], 0);
        drops.add(1.0, [(3, 1000), (2, 1)], 0);
        assert_eq!(drops.series().collect::<Vec<_>>(), [(&1, 5), (&2, 2)]);
        assert_eq!(drops.other(), 1000);
    }

    #[test]
    fn an_idle_flow_gives_its_series_to_another_and_its_count_to_other() {
        let mut drops = Sticky::new(1, HOUR);
        drops.add(0.0, [(1, 5)], 0);
        drops.add(HOUR - 1.0, [(1, 1)], 0);
        drops.add(HOUR, [(2, 1)], 0);
        assert_eq!(drops.series().collect::<Vec<_>>(), [(&1, 6)], "it lost one a second ago");
        drops.add(2.0 * HOUR, [(2, 1)], 0);
        assert_eq!(drops.series().collect::<Vec<_>>(), [(&2, 1)]);
        assert_eq!(drops.other(), 7);
    }

    #[test]
    fn a_hundred_thousand_flows_have_a_hundred_series() {
        let mut drops = Sticky::new(100, HOUR);
        for turn in 0..10_u32 {
            let flows = (0..10_000).map(|flow| (turn * 10_000 + flow, 1));
            drops.add(f64::from(turn), flows, 0);
        }
        assert_eq!(drops.series().count(), 100);
        assert_eq!(sum(&drops), 100_000);
        drops.add(2.0 * HOUR, [], 0);
        assert_eq!((drops.series().count(), drops.other()), (0, 100_000));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_other_never_falls(
            turns in vec((0.0..4000.0_f64, vec((0..20_u32, 0..9_u64), 0..30), 0..5_u64), 0..30),
        ) {
            let mut drops = Sticky::new(5, HOUR);
            let (mut now, mut all, mut other) = (0.0, 0, 0);
            for (passed, flows, unknown) in turns {
                now += passed;
                all += unknown + flows.iter().map(|(_, packets)| packets).sum::<u64>();
                drops.add(now, flows, unknown);
                prop_assert_eq!(sum(&drops), all);
                prop_assert!(drops.series().count() <= 5);
                prop_assert!(drops.other() >= other);
                other = drops.other();
            }
        }
    }
}
