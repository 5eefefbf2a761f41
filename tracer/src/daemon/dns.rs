//! Totals of DNS that never fall, whatever is loaded anew. Pure.

use std::collections::BTreeMap;

use tracer_common::dns::{DnsCount, DnsKey};

use crate::{kernel::DnsReading, observe::so_far};

/// Everything counted of DNS since the daemon began.
#[derive(Debug, Default, Clone)]
pub struct DnsTotals {
    /// What former sessions counted.
    carried: BTreeMap<DnsKey, DnsCount>,
    /// What the present one has counted.
    current: BTreeMap<DnsKey, DnsCount>,
}

impl DnsTotals {
    /// Takes over a reading of the present session. A query that is overdue now may be counted
    /// otherwise later, as to its answer: that is left out of what it is counted under.
    pub fn read(&mut self, reading: &DnsReading) {
        let mut sums: BTreeMap<DnsKey, DnsCount> = BTreeMap::new();
        for (key, count) in so_far(reading) {
            add(sums.entry(key.by_query()).or_default(), count);
        }
        for (key, count) in sums {
            let known = self.current.entry(key).or_default();
            // A query that was overdue and is being counted just now is in neither for a moment.
            if count.times > known.times {
                *known = count;
            }
        }
    }

    /// The present session has ended; the next one begins at zero.
    pub fn carry(&mut self) {
        for (key, count) in std::mem::take(&mut self.current) {
            add(self.carried.entry(key).or_default(), count);
        }
    }

    /// What was counted, by what is in a timeout's key of its query alone.
    #[must_use]
    pub fn sums(&self) -> BTreeMap<DnsKey, DnsCount> {
        let mut sums = self.carried.clone();
        for (key, count) in &self.current {
            add(sums.entry(*key).or_default(), *count);
        }
        sums
    }
}

const fn add(sum: &mut DnsCount, count: DnsCount) {
    sum.times += count.times;
    sum.nanoseconds += count.nanoseconds;
}

#[cfg(test)]
mod tests {
    use tracer_common::{
        dns::{DnsKind, DnsSlot, Ledger, Message},
        stage::{POD_OUT, WIRE_IN},
    };

    use super::*;
    use crate::kernel::Overdue;

    struct Nobody;

    impl Ledger for Nobody {
        fn now(&self) -> u64 {
            0
        }

        fn timeout(&self) -> u64 {
            1
        }

        fn count(&self, _key: &DnsKey, _nanoseconds: u64) {}
    }

    /// A query that nobody answered, and the same after an answer was seen on its way.
    fn lost() -> [DnsKey; 2] {
        let mut slot = DnsSlot::default();
        let query = Message::new(1_u32, 2, [4000, 53], 0).unwrap();
        slot.query(&query, POD_OUT, true, &Nobody);
        let before = slot.timed_out();
        slot.answer(&Message::new(2_u32, 1, [53, 4000], 0x8000).unwrap(), WIRE_IN, &Nobody);
        [before, slot.timed_out()]
    }

    fn timeouts(totals: &DnsTotals) -> u64 {
        let sums = totals.sums();
        let of_kind = sums.iter().filter(|it| it.0.kind() == Some(DnsKind::Timeout));
        of_kind.map(|it| it.1.times).sum()
    }

    #[test]
    fn an_overdue_query_counts_once_whatever_becomes_of_it() {
        let (mut totals, [silent, answered]) = (DnsTotals::default(), lost());
        assert_ne!(silent, answered);
        let client = ("10.0.0.1".parse().unwrap(), 4000);
        let overdue = vec![Overdue { client, key: silent }];
        totals.read(&DnsReading { overdue, ..DnsReading::default() });
        assert_eq!(timeouts(&totals), 1);
        totals.read(&DnsReading::default());
        assert_eq!(timeouts(&totals), 1, "it is being counted just now");
        let counts = BTreeMap::from([(answered, DnsCount { times: 1, nanoseconds: 0 })]);
        totals.read(&DnsReading { counts: counts.clone(), ..DnsReading::default() });
        assert_eq!(timeouts(&totals), 1);
        totals.carry();
        totals.read(&DnsReading { counts, ..DnsReading::default() });
        assert_eq!(timeouts(&totals), 2, "another session's");
    }
}
