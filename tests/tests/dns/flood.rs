//! Queries as fast as one sender has them, most of them answered: none is lost from the sums.

use std::fs;

use tracer_tests::netns;

use super::*;

/// What a sender reaches at least where it has the machine to itself.
const RATE: f64 = 20_000.0;
/// How often it is tried, where others may have taken the machine.
const TRIES: usize = 3;
/// How long a flood lasts, in seconds.
const SECONDS: [f64; 2] = [10.0, 3.0];
/// The same where nothing depends on how many queries they are.
const SHORT: f64 = 3.0;
/// Ports and identifiers of a client: so many that one which was given up comes again only when
/// everybody takes its query for lost.
const MANY: (u16, u32) = (2, 65_536);
/// So few that they come again while a query with them waits.
const FEW: (u16, u32) = (1, 700);
/// One query in so many is accompanied by what is no answer.
const NOISE: u64 = 11;
/// Queries of which two processors may have taken one for the other, among all in a slot at the same
/// time: one in so many at most.
const RACES: u64 = 10_000;

/// A flood as the client knows it.
struct Flooded {
    /// Queries that were sent, and did not die before the bridge of their node.
    sent: u64,
    /// Answers that came back.
    answered: u64,
    /// Queries that came to the server.
    arrived: u64,
    /// Queries a second.
    rate: f64,
}

#[test]
fn a_flood_is_told_to_the_last_query() {
    let lab = lab(608);
    let mut rates = Vec::new();
    for _ in 0..TRIES {
        let manner = Manner { silent: Some(SILENT), ..Manner::default() };
        let (seen, flooded) = flood(&lab, MANY, size::of(SECONDS[0], SECONDS[1]), manner);
        for watched in &seen {
            add_up(&lab, watched, &flooded);
        }
        let [queries, answers, ..] = sums(row(&seen[0], server(&lab).ip()));
        let row = row(&seen[0], server(&lab).ip());
        assert_eq!(queries, flooded.sent, "{row:#}");
        // What came back did so as an answer in time, or as one of a query that was given up.
        let told = [&row["late"], &row["unmatched"]].map(|it| it.as_u64().unwrap());
        let told = answers + told.iter().sum::<u64>();
        assert!(told >= flooded.answered, "{told} of {} answers: {row:#}", flooded.answered);
        let silent = flooded.arrived / SILENT;
        assert!(answers <= flooded.arrived - silent, "{} arrived: {row:#}", flooded.arrived);
        rates.push(flooded.rate.round());
        if flooded.rate >= RATE || size::is_small() {
            println!("{rates:?} queries a second: {row:#}");
            return;
        }
    }
    panic!("{rates:?} queries a second of at least {RATE}, if the machine did nothing else");
}

#[test]
fn ports_and_identifiers_that_come_again_while_they_are_in_use_make_no_wrong_sum() {
    let lab = lab(609);
    let manner = Manner { silent: Some(SILENT), ..Manner::default() };
    let (seen, flooded) = flood(&lab, FEW, SHORT, manner);
    for watched in &seen {
        add_up(&lab, watched, &flooded);
    }
    let row = row(&seen[0], server(&lab).ip());
    let [queries, _, timeouts, ..] = sums(row);
    let retries = row["retries"].as_u64().unwrap();
    // One that comes again after its timeout is both.
    let most = flooded.sent + timeouts;
    assert!((flooded.sent..=most).contains(&(queries + retries)), "{}: {row:#}", flooded.sent);
    assert!(retries > 0, "{row:#}");
}

#[test]
fn forged_and_malformed_answers_beside_a_flood_make_no_wrong_sum() {
    let lab = lab(610);
    let manner = Manner { silent: Some(SILENT), noise: Some(NOISE), ..Manner::default() };
    let (seen, flooded) = flood(&lab, MANY, SHORT, manner);
    for watched in &seen {
        add_up(&lab, watched, &flooded);
        let row = row(watched, server(&lab).ip());
        // Two of the forged answers are one and the same: nobody waits for the second.
        let forged = flooded.arrived / NOISE;
        assert!(row["unmatched"].as_u64().unwrap() >= forged / 2, "{row:#}");
        let errors = watched.check.json["self"]["parse_errors"].as_u64().unwrap();
        assert!(errors >= forged, "{errors} of {forged}");
    }
    assert_eq!(sums(row(&seen[0], server(&lab).ip()))[0], flooded.sent);
}

/// Each query is one of the sums, and after their time none waits any more: but for those of which
/// two processors saw one each in the same slot at the same time. What comes out of the tunnel is
/// seen at two stages: where another query took its slot between them it is counted twice.
fn add_up(lab: &Lab, watched: &Watched, flooded: &Flooded) {
    let row = row(watched, server(lab).ip());
    let [queries, answers, timeouts, pending, lost] = sums(row);
    assert_eq!(answers + timeouts + pending + lost, queries, "{row:#}");
    let races = flooded.sent / RACES;
    assert!(queries <= flooded.sent + races, "{} sent: {row:#}", flooded.sent);
    assert!(pending <= races, "{row:#}");
    assert!(timeouts + lost > 0, "{row:#}");
}

/// The server that a flood is sent to.
fn server(lab: &Lab) -> SocketAddr {
    let pod = lab.plan().nodes[lab.plan().dns.node].first_pod().unwrap();
    SocketAddr::new(pod.ip.of(Family::V4), PORT)
}

fn flood(
    lab: &Lab,
    (ports, identifiers): (u16, u32),
    seconds: f64,
    manner: Manner,
) -> ([Watched; 2], Flooded) {
    let nodes = &lab.plan().nodes;
    let client = nodes[client_node(lab)].first_pod().unwrap();
    let pod = nodes[lab.plan().dns.node].first_pod().unwrap();
    let before = dropped(client);
    let asked = responder(pod, Family::V4, manner);
    let flow = Flow::DnsFlood { server: server(lab), ports, identifiers };
    let limits = Limits { rate: size::of(f64::INFINITY, 250.0), count: None, seconds };
    let sender = Sender { namespace: client.namespace.clone(), flow, limits };
    let (seen, counts) = watched(lab, || {
        let [(_, counts)] = Traffic::start(vec![sender]).finish().unwrap()[..] else { panic!() };
        counts
    });
    assert_eq!(counts.errors, 0);
    let flooded = Flooded {
        sent: counts.sent - (dropped(client) - before),
        answered: counts.answered,
        arrived: asked.end().unwrap(),
        rate: counts.sent as f64 / seconds,
    };
    (seen, flooded)
}

/// What the device of a pod could not hand to its bridge, because a queue of the kernel was full.
fn dropped(pod: &Pod) -> u64 {
    let read = || Ok(fs::read_to_string("/proc/thread-self/net/dev")?);
    let text = netns::run_in(&pod.namespace, read).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
    // The eight counters of what comes in, then packets, errors and drops of what goes out.
    line.split_whitespace().nth(11).unwrap().parse().unwrap()
}
