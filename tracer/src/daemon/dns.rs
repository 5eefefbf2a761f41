//! Totals of DNS that never fall, whatever is loaded anew, by few servers. Pure.
//!
//! Whoever asks chooses the servers' addresses, and pods ask anybody. So the first servers get series
//! of their own and keep them until nobody has asked them for long, as flows that are dropped do; all
//! others are counted together, so that the sums are those of all queries at any time. The endpoints
//! behind a server are treated alike.

mod server;

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use tracer_common::dns::{COUNTS, DnsCount, DnsKey, DnsKind};

use self::server::Server;
use crate::{
    kernel::DnsReading,
    observe::{server_of, so_far},
};

/// Servers that have series.
const SERVERS: usize = 32;
/// How long a server or an endpoint keeps its series of which nothing is counted any more, in seconds.
const IDLE: f64 = 3600.0;

/// Entries of the kernel's table from which it is crowded: seven eighths.
const CROWDED: usize = COUNTS as usize / 8 * 7;

type Counts = BTreeMap<DnsKey, DnsCount>;

/// Everything counted of DNS since the daemon began.
#[derive(Debug, Default, Clone)]
pub struct DnsTotals {
    /// What the present session has counted.
    current: Counts,
    /// Of the servers that have series what was counted since they have.
    servers: BTreeMap<IpAddr, Server>,
    /// All the rest.
    others: Counts,
    /// Entries of the kernel's table when it was read last.
    entries: usize,
}

// === impl DnsTotals ===

impl DnsTotals {
    /// Takes over a reading of the present session at `now`, in seconds of a clock that never goes
    /// back. A query that is overdue now may be counted otherwise later, as to its answer: that is
    /// left out of what it is counted under.
    pub fn read(&mut self, now: f64, reading: &DnsReading) {
        self.entries = reading.counts.len();
        let mut sums = Counts::new();
        for (key, count) in so_far(reading) {
            add(&mut sums, key.by_query(), count);
        }
        let mut new: BTreeMap<IpAddr, Counts> = BTreeMap::new();
        for (key, count) in sums {
            let Some(rise) = self.rise(key, count) else { continue };
            let known = server_of(&key).map(|address| (address, self.servers.get_mut(&address)));
            match known {
                Some((_, Some(server))) => server.count(now, key, rise),
                Some((address, None)) => add(new.entry(address).or_default(), key, rise),
                None => add(&mut self.others, key, rise),
            }
        }
        self.expire(now);
        self.begin(now, new);
    }

    /// The present session has ended; the next one begins at zero.
    pub fn carry(&mut self) {
        self.current.clear();
        self.entries = 0;
    }

    /// Whether there is soon no room for servers and endpoints that the present session has not seen.
    #[must_use]
    pub const fn is_crowded(&self) -> bool {
        self.entries >= CROWDED
    }

    /// What was counted, by what is in a timeout's key of its query alone.
    #[must_use]
    pub fn sums(&self) -> BTreeMap<DnsKey, DnsCount> {
        let mut sums = self.others.clone();
        for server in self.servers.values() {
            sums.extend(server.counts());
        }
        sums
    }

    /// By how much a count of the session has risen.
    fn rise(&mut self, key: DnsKey, count: DnsCount) -> Option<DnsCount> {
        let known = self.current.entry(key).or_default();
        // A query that was overdue and is being counted just now is in neither for a moment.
        if count.times <= known.times {
            return None;
        }
        let before = std::mem::replace(known, count);
        let nanoseconds = count.nanoseconds.saturating_sub(before.nanoseconds);
        Some(DnsCount { times: count.times - before.times, nanoseconds })
    }

    /// Those that are asked most come first. Whoever only answers what nobody asked gets no series:
    /// else anybody could take them all.
    fn begin(&mut self, now: f64, new: BTreeMap<IpAddr, Counts>) {
        let mut new: Vec<(IpAddr, Counts)> = new.into_iter().collect();
        new.sort_by_key(|(_, counts)| Reverse(queries(counts)));
        for (address, counts) in new {
            if self.servers.len() < SERVERS && queries(&counts) > 0 {
                self.servers.insert(address, Server::new(now, counts));
            } else {
                add_to_others(&mut self.others, counts);
            }
        }
    }

    fn expire(&mut self, now: f64) {
        for (_, server) in self.servers.extract_if(.., |_, server| server.is_idle(now)) {
            add_to_others(&mut self.others, server.into_counts());
        }
        self.servers.values_mut().for_each(|server| server.expire(now));
    }
}

fn queries(counts: &Counts) -> u64 {
    let of_kind = counts.iter().filter(|it| it.0.kind() == Some(DnsKind::Query));
    of_kind.map(|it| it.1.times).sum()
}

fn add_to_others(others: &mut Counts, counts: Counts) {
    for (key, count) in counts {
        add(others, key.of_many(), count);
    }
}

fn add(sums: &mut Counts, key: DnsKey, count: DnsCount) {
    let sum = sums.entry(key).or_default();
    sum.times += count.times;
    sum.nanoseconds += count.nanoseconds;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::{collection::vec, prelude::*};
    use tracer_common::{
        dns::{DnsSlot, Ledger, Message},
        stage::{OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN},
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
        totals.read(0.0, &DnsReading { overdue, ..DnsReading::default() });
        assert_eq!(timeouts(&totals), 1);
        totals.read(0.0, &DnsReading::default());
        assert_eq!(timeouts(&totals), 1, "it is being counted just now");
        let counts = BTreeMap::from([(answered, DnsCount { times: 1, nanoseconds: 0 })]);
        totals.read(0.0, &DnsReading { counts: counts.clone(), ..DnsReading::default() });
        assert_eq!(timeouts(&totals), 1);
        totals.carry();
        totals.read(0.0, &DnsReading { counts, ..DnsReading::default() });
        assert_eq!(timeouts(&totals), 2, "another session's");
    }

    #[derive(Default)]
    struct Book(RefCell<Counts>);

    impl Ledger for Book {
        fn now(&self) -> u64 {
            0
        }

        fn timeout(&self) -> u64 {
            1
        }

        fn count(&self, key: &DnsKey, nanoseconds: u64) {
            add(&mut self.0.borrow_mut(), *key, DnsCount { times: 1, nanoseconds });
        }
    }

    impl Book {
        /// So many queries to a server, each answered.
        fn ask(&self, server: u32, queries: u64) {
            let server = server.to_be();
            for _ in 0..queries {
                let mut slot = DnsSlot::default();
                let query = Message::new(1_u32, server, [4000, 53], 0).unwrap();
                slot.query(&query, POD_OUT, true, self);
                let answer = Message::new(server, 1_u32, [53, 4000], 0x8003).unwrap();
                slot.answer(&answer, POD_IN, self);
            }
        }

        /// A query to a service, answered by an endpoint of it.
        fn ask_by(&self, server: u32, endpoint: u32) {
            let (server, endpoint) = (server.to_be(), endpoint.to_be());
            let mut slot = DnsSlot::default();
            let message = |to: u32| Message::new(1_u32, to, [4000, 53], 0).unwrap();
            slot.query(&message(server), POD_OUT, true, self);
            slot.query(&message(endpoint), OVERLAY_OUT, false, self);
            let answer = Message::new(server, 1_u32, [53, 4000], 0x8003).unwrap();
            slot.answer(&answer, POD_IN, self);
        }

        /// An answer to no query.
        fn answer(&self, server: u32) {
            let answer = Message::new(server.to_be(), 1_u32, [53, 4000], 0x8000).unwrap();
            DnsSlot::default().answer(&answer, POD_IN, self);
        }

        fn read(&self, totals: &mut DnsTotals, now: f64) {
            let counts = self.0.borrow().clone();
            totals.read(now, &DnsReading { counts, ..DnsReading::default() });
        }
    }

    fn sum(counts: &Counts, kind: DnsKind) -> u64 {
        counts.iter().filter(|it| it.0.kind() == Some(kind)).map(|it| it.1.times).sum()
    }

    /// Servers with series, and the queries of all others.
    fn told(totals: &DnsTotals) -> (usize, u64) {
        let sums = totals.sums();
        let mut servers: Vec<IpAddr> = sums.keys().filter_map(server_of).collect();
        servers.dedup();
        let others = sums.into_iter().filter(|it| it.0.is_of_others()).collect();
        (servers.len(), sum(&others, DnsKind::Query))
    }

    #[test]
    fn the_servers_that_are_asked_most_get_series_and_keep_them() {
        let (mut totals, book) = (DnsTotals::default(), Book::default());
        (0..SERVERS as u32 + 8).for_each(|server| book.ask(server, u64::from(server) + 1));
        book.read(&mut totals, 0.0);
        let least: u64 = (1..=8).sum();
        assert_eq!(told(&totals), (SERVERS, least));
        book.ask(0, 1000);
        book.read(&mut totals, 10.0);
        assert_eq!(told(&totals), (SERVERS, least + 1000), "a later one has none, however many");
        let sums = totals.sums();
        let codes = sums.iter().filter(|it| it.0.kind() == Some(DnsKind::Answer));
        assert!(codes.clone().count() > SERVERS);
        assert!(codes.clone().all(|it| it.0.rcode() == 3 && it.0.has_details()));
    }

    #[test]
    fn a_server_that_nobody_asks_any_more_gives_its_series_to_another() {
        let (mut totals, book) = (DnsTotals::default(), Book::default());
        (0..SERVERS as u32).for_each(|server| book.ask(server, 1));
        book.read(&mut totals, 0.0);
        (1..SERVERS as u32).for_each(|server| book.ask(server, 1));
        book.read(&mut totals, IDLE - 1.0);
        book.ask(77, 5);
        book.read(&mut totals, IDLE);
        assert_eq!(told(&totals), (SERVERS, 1));
        book.read(&mut totals, 2.0 * IDLE);
        assert_eq!(told(&totals), (0, 2 * SERVERS as u64 + 4));
        book.ask(0, 1);
        book.read(&mut totals, 2.0 * IDLE + 1.0);
        let sums = totals.sums();
        let of_server = sums.iter().filter(|it| !it.0.is_of_others());
        assert!(of_server.clone().all(|it| it.1.times == 1), "it begins anew");
        assert_eq!(sum(&sums, DnsKind::Query), 2 * SERVERS as u64 + 5);
    }

    /// Endpoints that have series, and all answers.
    fn endpoints(totals: &DnsTotals) -> (usize, u64) {
        let sums = totals.sums();
        let mut endpoints: Vec<IpAddr> = sums.keys().filter_map(DnsKey::endpoint).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        (endpoints.len(), sum(&sums, DnsKind::Answer))
    }

    #[test]
    fn endpoints_that_come_and_go_make_room_for_others() {
        let (mut totals, book) = (DnsTotals::default(), Book::default());
        book.ask_by(9, 1000);
        book.read(&mut totals, 0.0);
        (1..40).for_each(|endpoint| book.ask_by(9, 1000 + endpoint));
        book.read(&mut totals, 0.0);
        assert_eq!(endpoints(&totals), (16, 40));
        book.ask_by(9, 1000);
        book.read(&mut totals, IDLE - 1.0);
        book.ask_by(9, 2000);
        book.read(&mut totals, IDLE);
        assert_eq!(endpoints(&totals), (1, 42), "there was no room for the last one yet");
        book.ask_by(9, 2000);
        book.read(&mut totals, IDLE + 1.0);
        assert_eq!((endpoints(&totals), told(&totals)), ((2, 43), (1, 0)));
    }

    #[test]
    fn a_table_that_is_nearly_full_is_crowded_until_the_next_session() {
        let (mut totals, book) = (DnsTotals::default(), Book::default());
        (0..CROWDED as u32 / 2 - 1).for_each(|server| book.ask(server, 1));
        book.read(&mut totals, 0.0);
        assert!(!totals.is_crowded());
        book.ask(COUNTS, 1);
        book.read(&mut totals, 1.0);
        assert!(totals.is_crowded());
        totals.carry();
        assert!(!totals.is_crowded());
    }

    #[test]
    fn who_only_answers_what_nobody_asked_takes_no_series() {
        let (mut totals, book) = (DnsTotals::default(), Book::default());
        (0..1000).for_each(|server| book.answer(server));
        book.read(&mut totals, 0.0);
        assert_eq!(told(&totals), (0, 0));
        assert_eq!(sum(&totals.sums(), DnsKind::Unmatched), 1000);
        book.ask(7, 1);
        book.read(&mut totals, 1.0);
        assert_eq!(told(&totals), (1, 0));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_other_falls(
            turns in vec((0.0..4000.0_f64, vec((0..80_u32, 0..4_u64), 0..60), any::<bool>()), 0..12),
        ) {
            let (mut totals, mut book) = (DnsTotals::default(), Book::default());
            let (mut now, mut asked, mut before) = (0.0, 0, Counts::new());
            for (passed, servers, is_loaded_anew) in turns {
                now += passed;
                for (server, queries) in servers {
                    book.ask(server, queries);
                    asked += queries;
                }
                book.read(&mut totals, now);
                let sums = totals.sums();
                prop_assert_eq!(sum(&sums, DnsKind::Query), asked);
                prop_assert_eq!(sum(&sums, DnsKind::Answer), asked);
                prop_assert!(told(&totals).0 <= SERVERS);
                for (key, count) in before.iter().filter(|it| it.0.is_of_others()) {
                    prop_assert!(sums[key].times >= count.times);
                }
                before = sums;
                if is_loaded_anew {
                    totals.carry();
                    book = Book::default();
                }
            }
        }
    }
}
