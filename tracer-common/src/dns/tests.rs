use core::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::*;
use crate::{
    address::Address,
    stage::{OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN, WIRE_OUT},
};

const TIMEOUT: u64 = 2_000_000_000;
const QUERY: u32 = 0x0100;
const ANSWER: u32 = 0x8180;

/// Sums by kind, and the last key of each.
#[derive(Default)]
struct Book {
    now: Cell<u64>,
    times: [Cell<u64>; KINDS.len()],
    last: [Cell<DnsKey>; KINDS.len()],
}

impl Ledger for Book {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn timeout(&self) -> u64 {
        TIMEOUT
    }

    fn count(&self, key: &DnsKey, _nanoseconds: u64) {
        let index = key.kind().unwrap() as usize;
        self.times[index].set(self.times[index].get() + 1);
        self.last[index].set(*key);
    }
}

impl Book {
    fn of(&self, kind: DnsKind) -> u64 {
        self.times[kind as usize].get()
    }

    fn last(&self, kind: DnsKind) -> DnsKey {
        self.last[kind as usize].get()
    }

    fn pass(&self, nanoseconds: u64) {
        self.now.set(self.now.get() + nanoseconds);
    }
}

fn word(last: u8) -> u32 {
    u32::of(Ipv4Addr::new(10, 0, 0, last))
}

fn query(client: u8, server: u8, port: u16, id: u32) -> Message {
    Message::new(word(client), word(server), [port, 53], id << 16 | QUERY).unwrap()
}

fn answer(client: u8, server: u8, port: u16, id: u32) -> Message {
    Message::new(word(server), word(client), [53, port], id << 16 | ANSWER).unwrap()
}

const SERVICE: u8 = 96;
const POD: u8 = 7;

/// A pod's query to a service, as far as `stages` stages.
fn ask(slot: &mut DnsSlot, book: &Book, stages: usize) {
    let ways = [(POD_OUT, SERVICE, true), (OVERLAY_OUT, POD, false), (WIRE_OUT, POD, false)];
    for (stage, server, may_be_first) in ways.into_iter().take(stages) {
        slot.query(&query(1, server, 4000, 9), stage, may_be_first, book);
    }
}

/// The answer to it, as far as `stages` stages.
fn reply(slot: &mut DnsSlot, book: &Book, stages: usize) {
    let ways = [(WIRE_IN, POD), (OVERLAY_IN, POD), (POD_IN, SERVICE)];
    for (stage, server) in ways.into_iter().take(stages) {
        slot.answer(&answer(1, server, 4000, 9), stage, book);
    }
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

#[test]
fn a_query_through_a_service_is_answered_by_its_endpoint() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    ask(&mut slot, &book, 3);
    assert_eq!(slot.client(), (ip(1), 4000));
    book.pass(3_000_000);
    reply(&mut slot, &book, 3);
    assert!(!slot.is_open());
    let key = book.last(DnsKind::Answer);
    assert_eq!((key.server(), key.endpoint()), (ip(SERVICE), Some(ip(POD))));
    assert_eq!((key.rcode(), key.is_truncated(), key.bucket()), (0, false, 3));
    assert_eq!((book.of(DnsKind::Query), book.of(DnsKind::Answer)), (1, 1));
    reply(&mut slot, &book, 3);
    assert_eq!(book.of(DnsKind::Unmatched), 1, "an answer twice");
    assert_eq!(book.of(DnsKind::Answer), 1);
}

#[test]
fn a_timeout_names_the_last_stages_that_saw_something() {
    for (asked, replied) in [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2)] {
        let (mut slot, book) = (DnsSlot::default(), Book::default());
        ask(&mut slot, &book, asked);
        reply(&mut slot, &book, replied);
        book.pass(TIMEOUT + 1);
        slot.query(&query(2, SERVICE, 4000, 9), POD_OUT, true, &book);
        let stages = book.last(DnsKind::Timeout).last_stages();
        let answer = [None, Some(WIRE_IN), Some(OVERLAY_IN)][replied];
        assert_eq!(stages, ([POD_OUT, OVERLAY_OUT, WIRE_OUT][asked - 1], answer));
        assert_eq!((book.of(DnsKind::Query), book.of(DnsKind::Timeout)), (2, 1));
    }
}

#[test]
fn a_query_sent_again_keeps_its_beginning_until_it_has_timed_out() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    ask(&mut slot, &book, 3);
    book.pass(TIMEOUT);
    ask(&mut slot, &book, 3);
    assert_eq!((book.of(DnsKind::Query), book.of(DnsKind::Retry)), (1, 1));
    book.pass(1);
    ask(&mut slot, &book, 3);
    assert_eq!((book.of(DnsKind::Query), book.of(DnsKind::Retry)), (2, 2));
    assert_eq!(book.of(DnsKind::Timeout), 1);
    reply(&mut slot, &book, 3);
    assert_eq!(book.of(DnsKind::Answer), 1);
}

#[test]
fn a_late_answer_is_a_timeout_that_says_so() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    ask(&mut slot, &book, 3);
    book.pass(TIMEOUT + 1);
    reply(&mut slot, &book, 3);
    assert_eq!((book.of(DnsKind::Timeout), book.of(DnsKind::Late)), (1, 1));
    assert_eq!((book.of(DnsKind::Answer), slot.is_open()), (0, false));
    assert_eq!(book.last(DnsKind::Late).bucket(), 11);
}

#[test]
fn a_query_that_another_pushes_out_is_counted_as_such() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    ask(&mut slot, &book, 3);
    slot.query(&query(2, SERVICE, 4000, 9), POD_OUT, true, &book);
    assert_eq!((book.of(DnsKind::Overwritten), book.of(DnsKind::Timeout)), (1, 0));
    reply(&mut slot, &book, 3);
    assert_eq!((book.of(DnsKind::Answer), book.of(DnsKind::Unmatched)), (0, 1));
}

#[test]
fn each_way_through_a_node_ends_where_it_must() {
    let ways: [(&[usize], &[usize]); 4] = [
        (&[OVERLAY_OUT, WIRE_OUT], &[WIRE_IN, OVERLAY_IN]),
        (&[WIRE_IN, OVERLAY_IN, POD_IN], &[POD_OUT, OVERLAY_OUT, WIRE_OUT]),
        (&[OVERLAY_IN, POD_IN], &[POD_OUT, OVERLAY_OUT]),
        (&[POD_IN], &[POD_OUT]),
    ];
    for (asked, replied) in ways {
        let (mut slot, book) = (DnsSlot::default(), Book::default());
        for stage in asked {
            let may_be_first = *stage == asked[0] || *stage == OVERLAY_IN;
            slot.query(&query(1, POD, 4000, 9), *stage, may_be_first, &book);
        }
        for stage in replied {
            assert!(slot.is_open(), "{asked:?}");
            slot.answer(&answer(1, POD, 4000, 9), *stage, &book);
        }
        assert_eq!((book.of(DnsKind::Query), book.of(DnsKind::Answer)), (1, 1), "{asked:?}");
        assert_eq!(book.last(DnsKind::Answer).endpoint(), Some(ip(POD)));
    }
}

#[test]
fn the_copy_of_a_query_under_another_address_is_not_another_query() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    slot.query(&query(200, POD, 50_000, 9), OVERLAY_OUT, false, &book);
    slot.query(&query(200, POD, 50_000, 9), WIRE_OUT, false, &book);
    slot.answer(&answer(200, POD, 50_000, 9), WIRE_IN, &book);
    slot.answer(&answer(200, POD, 50_000, 9), OVERLAY_IN, &book);
    assert!(!slot.is_open());
    assert!(KINDS.iter().all(|kind| book.of(*kind) == 0));
}

#[test]
fn an_answer_of_somebody_else_answers_nothing() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    ask(&mut slot, &book, 3);
    for (client, server, port, id) in
        [(2, SERVICE, 4000, 9), (1, SERVICE, 4001, 9), (1, SERVICE, 4000, 8)]
    {
        slot.answer(&answer(client, server, port, id), POD_IN, &book);
    }
    assert!(slot.is_open());
    assert_eq!((book.of(DnsKind::Answer), book.of(DnsKind::Unmatched)), (0, 3));
    reply(&mut slot, &book, 3);
    assert_eq!(book.of(DnsKind::Answer), 1);
}

#[test]
fn at_the_tunnel_an_answer_comes_from_where_the_query_went() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    slot.query(&query(1, POD, 4000, 9), OVERLAY_OUT, true, &book);
    slot.answer(&answer(1, SERVICE, 4000, 9), OVERLAY_IN, &book);
    assert!(slot.is_open());
    slot.answer(&answer(1, POD, 4000, 9), OVERLAY_IN, &book);
    assert_eq!(book.of(DnsKind::Answer), 1);
}

#[test]
fn a_bridge_that_translates_before_its_hooks_hides_the_service() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    for (stage, may_be_first) in [(POD_OUT, true), (OVERLAY_OUT, false), (WIRE_OUT, false)] {
        slot.query(&query(1, POD, 4000, 9), stage, may_be_first, &book);
    }
    reply(&mut slot, &book, 3);
    let key = book.last(DnsKind::Answer);
    assert_eq!((key.server(), key.endpoint()), (ip(POD), Some(ip(POD))));
    assert_eq!((book.of(DnsKind::Unmatched), slot.is_open()), (0, false));
}

#[test]
fn messages_are_read_by_their_flags_and_ports() {
    let of = |ports: [u16; 2], header: u32| Message::new(word(1), word(2), ports, header);
    assert!(of([4000, 53], QUERY).is_some_and(|it| !it.is_answer()));
    assert!(of([53, 4000], ANSWER).is_some_and(|it| it.is_answer()));
    // Servers that ask each other may do so from port 53.
    assert!(of([53, 53], QUERY).is_some_and(|it| !it.is_answer()));
    assert!(of([53, 53], ANSWER).is_some_and(|it| it.is_answer()));
    assert_eq!(of([53, 4000], QUERY), None);
    assert_eq!(of([4000, 53], ANSWER), None);
}

#[test]
fn versions_of_ip_do_not_meet_in_a_slot() {
    let (mut slot, book) = (DnsSlot::default(), Book::default());
    let (a, b): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().unwrap(), "fd00::53".parse().unwrap());
    let [a6, b6] = [a, b].map(<[u32; 4]>::of);
    let question = Message::new(a6, b6, [4000, 53], 9 << 16 | QUERY).unwrap();
    slot.query(&question, POD_OUT, true, &book);
    assert_eq!(slot.client(), (a.into(), 4000));
    assert_eq!(book.last(DnsKind::Query).server(), IpAddr::from(b));
    let mut of_v4 = question;
    of_v4.bits = 32;
    assert!(!slot.is_of(&of_v4));
    slot.answer(&Message::new(b6, a6, [53, 4000], 9 << 16 | 0x8383).unwrap(), POD_IN, &book);
    let key = book.last(DnsKind::Answer);
    assert_eq!((key.rcode(), key.is_truncated(), key.endpoint()), (3, true, None));
}

#[test]
fn latencies_fall_into_the_bucket_that_reaches_them() {
    for (index, bound) in LATENCY_BOUNDS.into_iter().enumerate() {
        assert_eq!(usize::from(count::bucket(bound)), index);
        assert_eq!(usize::from(count::bucket(bound + 1)), index + 1);
    }
    assert_eq!(count::bucket(0), 0);
    assert_eq!(usize::from(count::bucket(u64::MAX)), BUCKETS - 1);
}

#[test]
fn queries_that_follow_each_other_do_not_share_slots() {
    let mut taken = [false; SLOTS as usize];
    for id in 0..SLOTS {
        taken[query(1, SERVICE, 4000, id).slot() as usize] = true;
    }
    let used = taken.iter().filter(|it| **it).count();
    assert!(used > SLOTS as usize / 4 * 3, "{used}");
}

/// Numbers that look like chance, the same every time.
struct Chance(u32);

impl Chance {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % bound
    }
}

#[test]
fn every_query_is_answered_or_timed_out_or_overwritten_or_open() {
    let (mut slots, book) = ([DnsSlot::default(); 8], Book::default());
    let mut chance = Chance(7);
    for step in 0..200_000 {
        let [client, id] = [3, 6].map(|bound| chance.below(bound));
        let slot = &mut slots[((client + id) % 8) as usize];
        let stage = chance.below(6) as usize;
        if chance.below(2) == 0 {
            let may_be_first = matches!(stage, POD_OUT | WIRE_IN | OVERLAY_IN);
            slot.query(&query(client as u8, SERVICE, 1, id), stage, may_be_first, &book);
        } else {
            let server = if chance.below(9) == 0 { POD } else { SERVICE };
            slot.answer(&answer(client as u8, server, 1, id), stage, &book);
        }
        book.pass(u64::from(chance.below(400)) * 1_000_000);
        let open = slots.iter().filter(|slot| slot.is_open()).count() as u64;
        let gone = [DnsKind::Answer, DnsKind::Timeout, DnsKind::Overwritten];
        let gone: u64 = gone.into_iter().map(|kind| book.of(kind)).sum();
        assert_eq!(book.of(DnsKind::Query), gone + open, "step {step}");
    }
    assert!(KINDS.iter().all(|kind| book.of(*kind) > 100), "every kind happens");
}
