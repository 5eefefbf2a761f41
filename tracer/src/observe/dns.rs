//! From readings of what was paired to what became of each server's queries.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use tracer_common::dns::{DnsCount, DnsKey, DnsKind};

use crate::{
    evidence::{Dns, DnsAnswers, DnsServer, DnsTcp, DnsTimeouts, Flow, Stage},
    kernel::DnsReading,
};

const DNS_PORT: u16 = 53;
const TCP: u8 = 6;

/// What became of queries between two readings. `flows` are those of the window.
#[must_use]
pub fn dns(start: &DnsReading, end: &DnsReading, timeout: Duration, flows: &[Flow]) -> Dns {
    let (before, now) = (so_far(start), so_far(end));
    let mut servers: BTreeMap<Option<IpAddr>, DnsServer> = BTreeMap::new();
    let mut timed_out = timed_out(&before, &now);
    for (key, count) in &now {
        let before = before.get(key).copied().unwrap_or_default();
        let mut rise = DnsCount {
            times: count.times.saturating_sub(before.times),
            nanoseconds: count.nanoseconds.saturating_sub(before.nanoseconds),
        };
        if let Some(left) = timed_out.get_mut(&key.by_query()) {
            rise.times = rise.times.min(*left);
            *left -= rise.times;
        }
        if rise.times > 0 {
            let address = server_of(key);
            let server = servers.entry(address);
            add(
                server.or_insert_with(|| DnsServer { server: address, ..Default::default() }),
                key,
                rise,
            );
        }
    }
    for (address, tcp) in over_tcp(flows) {
        let server = servers.entry(Some(address));
        server.or_insert_with(|| DnsServer { server: Some(address), ..Default::default() }).tcp =
            tcp;
    }
    let pending = pending(&now);
    let mut servers: Vec<DnsServer> = servers.into_values().collect();
    for server in &mut servers {
        server.pending = pending.get(&server.server).copied().unwrap_or(0);
    }
    // In a sorted order before: those with as many queries keep it.
    servers.sort_by_key(|server| std::cmp::Reverse(server.queries));
    Dns { timeout_seconds: timeout.as_secs_f64(), servers }
}

/// How many queries timed out between two readings, by what is known of the query alone: one that was
/// overdue at the start is counted otherwise once its answer is seen, and timed out before.
fn timed_out(
    before: &BTreeMap<DnsKey, DnsCount>,
    now: &BTreeMap<DnsKey, DnsCount>,
) -> BTreeMap<DnsKey, u64> {
    let sums = |counts: &BTreeMap<DnsKey, DnsCount>| {
        let mut sums: BTreeMap<DnsKey, u64> = BTreeMap::new();
        for (key, count) in counts {
            if key.kind() == Some(DnsKind::Timeout) {
                *sums.entry(key.by_query()).or_default() += count.times;
            }
        }
        sums
    };
    let (before, mut now) = (sums(before), sums(now));
    for (key, times) in &mut now {
        *times = times.saturating_sub(before.get(key).copied().unwrap_or(0));
    }
    now
}

/// What was counted since the programs were loaded, what is overdue among it.
#[must_use]
pub fn so_far(reading: &DnsReading) -> BTreeMap<DnsKey, DnsCount> {
    let mut counts = reading.counts.clone();
    for overdue in &reading.overdue {
        counts.entry(overdue.key).or_default().times += 1;
    }
    counts
}

/// The server that a count is of; `None` for those for which there was no entry.
#[must_use]
pub fn server_of(key: &DnsKey) -> Option<IpAddr> {
    (!key.is_of_others()).then(|| key.server())
}

fn add(server: &mut DnsServer, key: &DnsKey, count: DnsCount) {
    match key.kind() {
        Some(DnsKind::Query) => server.queries += count.times,
        Some(DnsKind::Retry) => server.retries += count.times,
        Some(DnsKind::Answer) => server.answers.push(answers(key, count)),
        Some(DnsKind::Late) => server.late.push(answers(key, count)),
        Some(DnsKind::Timeout) => server.timeouts.push(timeouts(key, count)),
        Some(DnsKind::Overwritten) => server.lost_sight += count.times,
        Some(DnsKind::Unmatched) => server.unmatched += count.times,
        None => {}
    }
}

fn answers(key: &DnsKey, count: DnsCount) -> DnsAnswers {
    DnsAnswers {
        endpoint: key.endpoint(),
        rcode: key.rcode(),
        truncated: key.is_truncated(),
        bucket: key.bucket(),
        answers: count.times,
        seconds: Duration::from_nanos(count.nanoseconds).as_secs_f64(),
    }
}

fn timeouts(key: &DnsKey, count: DnsCount) -> DnsTimeouts {
    let stage = |index: usize| Stage::ALL.get(index).copied();
    let (query, answer) = key.last_stages();
    DnsTimeouts {
        endpoint: key.endpoint(),
        query: stage(query).unwrap_or(Stage::PodOut),
        answer: answer.and_then(stage),
        queries: count.times,
    }
}

/// By server the queries that wait: all that were neither answered nor given up.
fn pending(counts: &BTreeMap<DnsKey, DnsCount>) -> BTreeMap<Option<IpAddr>, u64> {
    let mut sums: BTreeMap<Option<IpAddr>, [u64; 2]> = BTreeMap::new();
    for (key, count) in counts {
        let [asked, gone] = sums.entry(server_of(key)).or_default();
        match key.kind() {
            Some(DnsKind::Query) => *asked += count.times,
            Some(DnsKind::Answer | DnsKind::Timeout | DnsKind::Overwritten) => *gone += count.times,
            _ => {}
        }
    }
    sums.into_iter().map(|(server, [asked, gone])| (server, asked.saturating_sub(gone))).collect()
}

/// Connections to port 53 where they are seen first: of pods of this node, and of other nodes to a
/// server here.
fn over_tcp(flows: &[Flow]) -> BTreeMap<IpAddr, DnsTcp> {
    let key = |flow: &Flow| (flow.source, flow.source_port, flow.destination);
    let is_answer = |flow: &&Flow| {
        let arrives = flow.packets.pod_in > 0 || flow.packets.wire_out > 0;
        flow.protocol == TCP && flow.source_port == DNS_PORT && arrives
    };
    let answers: HashSet<(IpAddr, u16, IpAddr)> = flows
        .iter()
        .filter(is_answer)
        .map(|flow| (flow.destination, flow.destination_port, flow.source))
        .collect();
    let mut servers: BTreeMap<IpAddr, DnsTcp> = BTreeMap::new();
    for flow in flows {
        let is_first = flow.packets.pod_out > 0 || flow.packets.wire_in > 0;
        if flow.protocol == TCP && flow.destination_port == DNS_PORT && is_first {
            let tcp = servers.entry(flow.destination).or_default();
            tcp.connections += 1;
            tcp.answered += u64::from(answers.contains(&key(flow)));
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, net::Ipv4Addr};

    use tracer_common::{
        address::Address as _,
        dns::{DnsSlot, Ledger, Message},
        stage::{OVERLAY_OUT, POD_IN, POD_OUT, WIRE_IN},
    };

    use super::*;
    use crate::{evidence::StageCounts, kernel::Overdue};

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[derive(Default)]
    struct Book(RefCell<BTreeMap<DnsKey, DnsCount>>, std::cell::Cell<u64>);

    impl Ledger for Book {
        fn now(&self) -> u64 {
            self.1.get()
        }

        fn timeout(&self) -> u64 {
            TIMEOUT.as_nanos() as u64
        }

        fn count(&self, key: &DnsKey, nanoseconds: u64) {
            let mut counts = self.0.borrow_mut();
            let count = counts.entry(*key).or_default();
            count.times += 1;
            count.nanoseconds += nanoseconds;
        }
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn message(from: u8, to: u8, ports: [u16; 2], header: u32) -> Message {
        let word = |last| u32::of(Ipv4Addr::new(10, 0, 0, last));
        Message::new(word(from), word(to), ports, header).unwrap()
    }

    /// Four queries: one answered, one timed out, one overdue, one that waits.
    fn reading() -> DnsReading {
        let book = Book::default();
        let mut slots = [DnsSlot::default(); 4];
        for (id, slot) in slots.iter_mut().enumerate() {
            book.1.set([0, 0, 0, 2_500_000_000][id]);
            slot.query(&message(1, 96, [4000, 53], (id as u32) << 16), POD_OUT, true, &book);
            slot.query(&message(1, 7, [4000, 53], (id as u32) << 16), OVERLAY_OUT, false, &book);
        }
        book.1.set(3_000_000);
        slots[0].answer(&message(7, 1, [53, 4000], 0x8180), WIRE_IN, &book);
        slots[0].answer(&message(96, 1, [53, 4000], 0x8182), POD_IN, &book);
        book.1.set(3_000_000_000);
        slots[1].answer(&message(96, 1, [53, 4000], 0x1_8180), POD_IN, &book);
        let overdue = vec![Overdue { client: slots[2].client(), key: slots[2].timed_out() }];
        DnsReading { counts: book.0.into_inner(), overdue }
    }

    #[test]
    fn queries_are_answered_or_timed_out_or_pending() {
        let dns = dns(&DnsReading::default(), &reading(), TIMEOUT, &[]);
        let [server] = &dns.servers[..] else { panic!("{dns:?}") };
        assert_eq!((server.server, server.queries, server.pending), (Some(ip(96)), 4, 1));
        assert_eq!((server.answered(), server.timed_out(), server.answered_late()), (1, 2, 1));
        assert_eq!(server.endpoints(), [ip(7)]);
        let answer = &server.answers[0];
        assert_eq!((answer.rcode, answer.bucket, answer.seconds), (2, 3, 0.003));
        let lost = |answer| server.timeouts.iter().filter(|it| it.answer == answer).count();
        assert!(server.timeouts.iter().all(|it| it.query == Stage::OverlayOut));
        assert_eq!((lost(None), lost(Some(Stage::PodIn))), (1, 1));
    }

    #[test]
    fn what_was_counted_before_the_window_is_not_of_it() {
        let dns = dns(&reading(), &reading(), TIMEOUT, &[]);
        assert_eq!(dns.servers, []);
    }

    #[test]
    fn connections_are_counted_where_they_are_seen_first() {
        let flow =
            |(source, source_port): (u8, u16), (destination, destination_port), packets| Flow {
                source: ip(source),
                destination: ip(destination),
                protocol: TCP,
                source_port,
                destination_port,
                packets,
                leaked: 0,
                born_in_window: true,
                outer_source: None,
                translated_destination: None,
                translated_port: None,
                asked_as: None,
            };
        let out = StageCounts { pod_out: 5, ..StageCounts::default() };
        let translated = StageCounts { overlay_out: 5, wire_out: 5, ..StageCounts::default() };
        let back = StageCounts { pod_in: 5, ..StageCounts::default() };
        let flows = [
            flow((1, 4000), (96, 53), out),
            flow((1, 4000), (7, 53), translated),
            flow((96, 53), (1, 4000), back),
            flow((1, 4001), (96, 53), out),
            flow((1, 4002), (96, 80), out),
        ];
        let dns = dns(&DnsReading::default(), &DnsReading::default(), TIMEOUT, &flows);
        let [server] = &dns.servers[..] else { panic!("{dns:?}") };
        assert_eq!(server.server, Some(ip(96)));
        assert_eq!(server.tcp, DnsTcp { connections: 2, answered: 1 });
    }
}
