//! CoreDNS, and the server outside the cluster that it asks: of the two the one nearest to the cause is
//! told, on the node that sees both, and CoreDNS on the node that sees its clients. A suite of its own,
//! because a guest of `cargo xtask vm` does not have CoreDNS.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod server;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tracer_tests::{
    lab::{LOCK_WAIT, Lab},
    netns,
    plan::{DNS_NAME, Family, Plan, Stack},
    poll::poll_true,
    responder::{Manner, Responder},
    seed::Shape,
    tracer::Intent,
    traffic::{Flow, Limits, Sender, Traffic},
    watch::Watched,
};

use self::server::CoreDns;

const PORT: u16 = 53;
/// A name that CoreDNS asks its upstream for, and one that the cluster does not have.
const OUTSIDE: &str = "www.example.org";
const UNKNOWN: &str = "www.example.org.default.svc.cluster.local";
/// Later than clients wait, as the tracer is told, and sooner than CoreDNS gives up (readTimeout of 2 s
/// in plugin/pkg/proxy/proxy.go, CoreDNS 1.12.4).
const TIMEOUT: Duration = Duration::from_millis(600);
const LATE: Duration = Duration::from_millis(1200);
/// When CoreDNS has given up: the last of its tries begins within 5 s (defaultTimeout in
/// plugin/forward/forward.go) and takes 2 s.
const GIVES_UP: Duration = Duration::from_secs(8);
/// How many queries are enough for a finding.
const QUERIES: u64 = 6;
const SERVFAIL: u8 = 2;

/// A lab with CoreDNS in a pod.
struct Chain {
    lab: Lab,
    family: Family,
    _coredns: CoreDns,
}

/// What both nodes say: of a finding its code, its subject, and what it breaks.
struct Said {
    clients: Vec<[String; 3]>,
    server: Vec<[String; 3]>,
    seen: [Watched; 2],
}

// === impl Chain ===

impl Chain {
    fn new(seed: u64, family: Family) -> Self {
        let shape = Shape { nodes: Some(2), stack: Stack::Dual, ..Shape::default() };
        let lab = Lab::up(Plan::draw(seed, &shape), LOCK_WAIT).unwrap();
        let upstream = SocketAddr::new(lab.plan().lan.gateway.of(family), PORT);
        let pod = lab.plan().nodes[lab.plan().dns.node].first_pod().unwrap();
        let coredns = CoreDns::start(pod, upstream).unwrap();
        Self { lab, family, _coredns: coredns }
    }

    /// The address of CoreDNS.
    fn coredns(&self) -> IpAddr {
        self.lab.plan().nodes[self.server_node()].first_pod().unwrap().ip.of(self.family)
    }

    fn upstream(&self) -> IpAddr {
        self.lab.plan().lan.gateway.of(self.family)
    }

    fn server_node(&self) -> usize {
        self.lab.plan().dns.node
    }

    /// The server outside.
    fn outside(&self, manner: Manner) -> Responder {
        let at = SocketAddr::new(self.upstream(), PORT);
        Responder::start(netns::GATEWAY, at, Manner { at_once: true, ..manner }).unwrap()
    }

    /// Asks CoreDNS for names from the other node's pod, and waits so long for what comes late.
    fn ask(&self, names: &[&str], wait: Duration) -> Said {
        let nodes = [1 - self.server_node(), self.server_node()];
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let options = ["--dns-timeout", timeout.as_str()];
        let watches = nodes.map(|it| self.lab.watch(it, Intent::SubnetEnv, &options).unwrap());
        let namespace = &self.lab.plan().nodes[nodes[0]].first_pod().unwrap().namespace;
        let server = SocketAddr::new(self.coredns(), PORT);
        let sender = |name: &&str| Sender {
            namespace: namespace.clone(),
            flow: Flow::Dns { server, name: (*name).to_owned() },
            limits: Limits::exactly(QUERIES, 50.0),
        };
        let counts = Traffic::start(names.iter().map(sender).collect()).finish().unwrap();
        assert!(counts.iter().all(|(_, it)| (it.sent, it.errors) == (QUERIES, 0)), "{counts:?}");
        let end = Instant::now();
        poll_true("late answers", 2 * wait + TIMEOUT, || end.elapsed() >= wait).unwrap();
        let seen = watches.map(|watch| watch.end().unwrap());
        let [clients, server] = [told(&seen[0]), told(&seen[1])];
        Said { clients, server, seen }
    }
}

/// The findings, but that the bridges do not translate.
fn told(watched: &Watched) -> Vec<[String; 3]> {
    let findings = watched.check.json["findings"].as_array().unwrap().iter();
    let told = findings.map(|it| {
        let text = |json: &serde_json::Value| json.as_str().unwrap_or_default().to_owned();
        let breaks: Vec<String> = it["breaks"].as_array().unwrap().iter().map(text).collect();
        [text(&it["code"]), text(&it["subject"]["key"]), breaks.join(" ")]
    });
    told.filter(|it| it[0] != "bridge-nf-call-off").collect()
}

/// One finding.
fn only(code: &str, subject: IpAddr, breaks: Option<IpAddr>) -> Vec<[String; 3]> {
    let breaks = breaks.map_or_else(String::new, |it| format!("dns {it}"));
    vec![[code.to_owned(), subject.to_string(), breaks]]
}

/// A key of the row of a server.
fn sum(watched: &Watched, server: IpAddr, key: &str) -> u64 {
    let rows = watched.check.json["dns"].as_array().unwrap();
    let is_it =
        |row: &&serde_json::Value| row["server"] == server.to_string() && row["transport"] == "udp";
    let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no {server} in {rows:#?}"));
    row[key].as_u64().unwrap_or_else(|| panic!("no {key} in {row:#}"))
}

fn find_nothing_where_all_is_well(family: Family, seed: u64) {
    let chain = Chain::new(seed, family);
    let outside = chain.outside(Manner::default());
    let said = chain.ask(&[DNS_NAME, UNKNOWN, UNKNOWN, OUTSIDE], Duration::ZERO);
    assert_eq!(outside.end().unwrap(), QUERIES);
    assert_eq!((said.clients, said.server), (vec![], vec![]));
    for watched in &said.seen {
        assert_eq!(sum(watched, chain.coredns(), "queries"), 4 * QUERIES);
        assert_eq!(sum(watched, chain.coredns(), "answers"), 4 * QUERIES);
    }
    assert_eq!(sum(&said.seen[1], chain.upstream(), "answers"), QUERIES);
}

#[test]
fn names_of_the_cluster_of_nobody_and_of_others_are_healthy() {
    find_nothing_where_all_is_well(Family::V4, 621);
    find_nothing_where_all_is_well(Family::V6, 622);
}

#[test]
fn a_late_upstream_is_told_and_coredns_is_what_it_breaks() {
    let chain = Chain::new(623, Family::V4);
    let outside = chain.outside(Manner { delay: LATE, ..Manner::default() });
    let said = chain.ask(&[OUTSIDE, DNS_NAME], 2 * LATE);
    // On a busy machine CoreDNS may ask again.
    assert!(outside.end().unwrap() >= QUERIES);
    let (coredns, upstream) = (chain.coredns(), chain.upstream());
    assert_eq!(said.clients, only("dns-answer-late", coredns, None));
    assert_eq!(said.server, only("dns-answer-late", upstream, Some(coredns)));
    assert_eq!(sum(&said.seen[0], coredns, "answers"), QUERIES, "what it knows itself");
    assert_eq!(sum(&said.seen[0], coredns, "late"), QUERIES);
}

#[test]
fn an_upstream_that_errs_is_told_and_coredns_is_what_it_breaks() {
    let chain = Chain::new(624, Family::V6);
    let outside = chain.outside(Manner { rcode: SERVFAIL, ..Manner::default() });
    let said = chain.ask(&[OUTSIDE], Duration::ZERO);
    assert_eq!(outside.end().unwrap(), QUERIES);
    let (coredns, upstream) = (chain.coredns(), chain.upstream());
    assert_eq!(said.clients, only("dns-error-rcode", coredns, None));
    assert_eq!(said.server, only("dns-error-rcode", upstream, Some(coredns)));
}

#[test]
fn where_the_upstream_is_silent_coredns_gives_up_and_whom_it_asks_in_vain_is_told() {
    let chain = Chain::new(625, Family::V4);
    let outside = chain.outside(Manner { silent: Some(1), ..Manner::default() });
    let said = chain.ask(&[OUTSIDE], GIVES_UP);
    assert!(outside.end().unwrap() >= QUERIES);
    let expected = only("dns-error-rcode", chain.coredns(), None);
    assert_eq!((&said.clients, &said.server), (&expected, &expected));
    let lines = &said.seen[1].check.json["findings"];
    let lines = lines.as_array().unwrap().iter().flat_map(|it| it["evidence"].as_array().unwrap());
    let lines: Vec<&str> = lines.filter_map(|it| it.as_str()).collect();
    let asked = format!("it asks {}, which answered 0 of ", chain.upstream());
    assert!(lines.iter().any(|it| it.starts_with(&asked)), "{lines:#?}");
}
