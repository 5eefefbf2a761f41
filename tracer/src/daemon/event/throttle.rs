//! At most so many events a second; the others are told together, by cause and subject. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::{SignedDuration, Timestamp};

use super::{DnsTimeout, Event, What, dropped::Place, sample::Kind};

/// Events a second that are told one by one.
const A_SECOND: usize = 100;
/// Of them samples, and all others, where there are samples.
const HALF: usize = A_SECOND / 2;
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Lets the first events of a second pass and gathers the rest.
#[derive(Debug)]
pub struct Throttle {
    limit: usize,
    second: Option<Timestamp>,
    passed: usize,
    gathered: BTreeMap<Cause, Event>,
}

/// What events have in common that are told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Table, action and device.
    TableChange(&'static str, &'static str, Option<String>),
    Drop(Place),
    Vip(IpAddr),
    DnsTimeout(DnsTimeout),
    Sample(Kind),
    Lost(&'static str),
}

impl Default for Throttle {
    fn default() -> Self {
        Self::of(A_SECOND)
    }
}

impl Throttle {
    /// Two that together let pass what one does: whatever passes the one, the other has room.
    #[must_use]
    pub const fn halves() -> [Self; 2] {
        [Self::of(HALF), Self::of(HALF)]
    }

    const fn of(limit: usize) -> Self {
        Self { limit, second: None, passed: 0, gathered: BTreeMap::new() }
    }

    /// The event, unless too many were told in this second. Findings are always told.
    pub fn offer(&mut self, event: Event) -> Option<Event> {
        let Some(cause) = cause(&event.what) else { return Some(event) };
        if self.gathered.is_empty() && self.is_over(event.time) {
            (self.second, self.passed) = (None, 0);
        }
        if self.passed < self.limit && self.gathered.is_empty() {
            self.second.get_or_insert(event.time);
            self.passed += 1;
            return Some(event);
        }
        match self.gathered.get_mut(&cause) {
            Some(gathered) => add(gathered, &event),
            None => {
                self.gathered.insert(cause, together(event));
            }
        }
        None
    }

    /// What was gathered, once the second is over.
    pub fn turn(&mut self, now: Timestamp) -> Vec<Event> {
        if self.is_over(now) { self.rest() } else { Vec::new() }
    }

    /// What was gathered, at the end.
    pub fn rest(&mut self) -> Vec<Event> {
        (self.second, self.passed) = (None, 0);
        let mut gathered: Vec<Event> = std::mem::take(&mut self.gathered).into_values().collect();
        // As many causes as that are no help to a reader either.
        if let Some(first) = gathered.get(A_SECOND) {
            let (time, node) = (first.time, first.node.clone());
            let count = gathered.drain(A_SECOND..).map(|event| event.count).sum();
            let lost = Event::new(time, node, What::Lost { source: "events" });
            gathered.push(Event { count, ..lost });
        }
        gathered
    }
}

impl Throttle {
    /// When [`Throttle::turn`] will have something to tell.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.second.filter(|_| !self.gathered.is_empty()).map(|second| second + SECOND)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back ends it too.
        let is_in = |start| (SignedDuration::ZERO..SECOND).contains(&now.duration_since(start));
        self.second.is_some_and(|start| !is_in(start))
    }
}

/// `None` for what is never held back.
fn cause(what: &What) -> Option<Cause> {
    match what {
        What::FindingOpened { .. } | What::FindingClosed { .. } => None,
        What::TableChange(it) => {
            Some(Cause::TableChange(it.table, it.action, it.interface.clone()))
        }
        What::Drop { drop } => Some(Cause::Drop(drop.place())),
        What::Vip { vip } => Some(Cause::Vip(vip.address)),
        What::DnsTimeout(it) => Some(Cause::DnsTimeout(it.clone())),
        What::Sample { sample } => Some(Cause::Sample(sample.kind())),
        What::Lost { source } => Some(Cause::Lost(source)),
    }
}

/// The event as the first of several.
fn together(mut event: Event) -> Event {
    match &mut event.what {
        What::TableChange(change) => change.entry = None,
        What::Drop { drop } => drop.of_no_flow(),
        What::Sample { sample } => sample.packet = None,
        _ => (),
    }
    event
}

/// Adds another event of the same cause.
fn add(gathered: &mut Event, event: &Event) {
    gathered.count += event.count;
    if let (What::Drop { drop: sum }, What::Drop { drop }) = (&mut gathered.what, &event.what) {
        sum.drop.packets += drop.drop.packets;
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::{sample::SampleKind, sight::SightKind};

    use super::*;
    use crate::{
        daemon::event::{Dropped, TableChange, sample::tests::sampled},
        diagnose::testing::dropped_to,
    };

    fn event(interface: &str, millisecond: i64) -> Event {
        let time = Timestamp::from_millisecond(1_800_000_000_000 + millisecond).unwrap();
        let change = TableChange {
            table: "route",
            action: "added",
            interface: Some(interface.to_owned()),
            entry: Some("10.0.0.0/24".to_owned()),
        };
        Event::new(time, "n1".to_owned(), What::TableChange(change))
    }

    fn time(millisecond: i64) -> Timestamp {
        event("x", millisecond).time
    }

    #[test]
    fn the_first_of_a_second_pass_and_the_rest_is_one_line_a_cause() {
        let mut throttle = Throttle::default();
        let passed = (0..10_000).filter_map(|_| throttle.offer(event("eth0", 5))).count();
        assert_eq!(passed, A_SECOND);
        assert_eq!(throttle.offer(event("cni0", 6)), None);
        assert_eq!(throttle.turn(time(900)), []);
        let told = throttle.turn(time(1_100));
        let counts: Vec<u64> = told.iter().map(|event| event.count).collect();
        assert_eq!(counts, [1, 9_900]);
        assert!(
            told.iter().all(|it| matches!(&it.what, What::TableChange(it) if it.entry.is_none()))
        );
        assert!(throttle.offer(event("eth0", 1_200)).is_some(), "a new second");
        assert_eq!(throttle.due(), None);
    }

    fn drop_event(cause: &'static str, port: u16, packets: u64) -> Event {
        let drop = Box::new(Dropped { cause, drop: dropped_to(port, packets) });
        Event { what: What::Drop { drop }, ..event("x", 0) }
    }

    #[test]
    fn of_many_drops_the_rest_is_told_by_cause_and_place_with_all_packets() {
        let mut throttle = Throttle::default();
        let offered = (0..1_000).flat_map(|port| {
            [drop_event("unexplained", port, 3), drop_event("fdb-entry-missing", port, 2)]
        });
        let mut told: Vec<Event> = offered.filter_map(|it| throttle.offer(it)).collect();
        assert_eq!(told.len(), A_SECOND);
        let rest = throttle.turn(time(1_000));
        assert_eq!(rest.len(), 2, "one a cause: {rest:#?}");
        told.extend(rest);
        let of = |cause: &str| {
            let drops = told.iter().filter_map(|event| match &event.what {
                What::Drop { drop } if drop.cause == cause => Some((drop, event.count)),
                _ => None,
            });
            drops.fold((0, 0), |sum, it| (sum.0 + it.0.drop.packets, sum.1 + it.1))
        };
        assert_eq!(of("unexplained"), (3_000, 1_000));
        assert_eq!(of("fdb-entry-missing"), (2_000, 1_000));
        let last = told.last().unwrap();
        assert!(matches!(&last.what, What::Drop { drop } if drop.drop.flow.is_none()), "{last:?}");
    }

    #[test]
    fn of_many_samples_the_rest_is_one_line_a_stage_and_anomaly() {
        let [mut throttle, mut others] = Throttle::halves();
        let sample = |number: usize| {
            let kind = [SampleKind::Turn, SampleKind::Sight(SightKind::OtherVni)][number % 2];
            let sample = Box::new(sampled(kind, ["wire_in", "wire_out"][number / 2 % 2]));
            Event::new(time(number as i64 / 10), "n1".to_owned(), What::Sample { sample })
        };
        let passed = (0..5_000).filter_map(|number| throttle.offer(sample(number))).count();
        assert_eq!(passed, HALF);
        assert!(others.offer(event("eth0", 5)).is_some(), "others have room of their own");
        let rest = throttle.turn(time(1_000));
        let told: u64 = rest.iter().map(|event| event.count).sum();
        assert_eq!((rest.len(), told + passed as u64), (4, 5_000));
        let is_of_none = |event: &Event| matches!(&event.what, What::Sample { sample } if sample.packet.is_none());
        assert!(rest.iter().all(is_of_none), "{rest:#?}");
    }

    #[test]
    fn at_the_end_nothing_is_held_back() {
        let mut throttle = Throttle::default();
        let passed = (0..150).filter_map(|_| throttle.offer(event("eth0", 5))).count();
        let rest: u64 = throttle.rest().iter().map(|event| event.count).sum();
        assert_eq!((passed, rest), (A_SECOND, 50));
        assert_eq!(throttle.rest(), []);
    }

    #[test]
    fn too_many_causes_are_counted_as_lost() {
        let mut throttle = Throttle::default();
        let offered = 1_000;
        let passed =
            (0..offered).filter_map(|n| throttle.offer(event(&format!("veth{n}"), 0))).count();
        let told = throttle.turn(time(2_000));
        assert_eq!(told.len(), A_SECOND + 1);
        let lost = told.last().unwrap();
        assert_eq!(lost.what, What::Lost { source: "events" });
        let counted: u64 = told.iter().map(|event| event.count).sum();
        assert_eq!(passed as u64 + counted, offered);
    }
}
