//! Who sees the same queries says the same of them: the client, `check`, and `run`.

use std::net::UdpSocket;

use tracer_tests::{
    daemon::{Daemon, Metrics},
    netns,
};

use super::*;

/// Bounds of the buckets in seconds, by the contract.
const BOUNDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// How much later than the bridge a client may see an answer, in seconds.
const LATER: f64 = 0.01;
/// How long the responder takes.
const DELAYS: [Duration; 2] = [Duration::from_millis(35), Duration::from_millis(120)];

#[test]
fn latencies_fall_into_the_buckets_that_the_client_measures() {
    let lab = lab(605);
    let pod = lab.plan().nodes[lab.plan().dns.node].first_pod().unwrap().clone();
    let at = SocketAddr::new(pod.ip.of(Family::V4), PORT);
    let client = lab.plan().nodes[client_node(&lab)].first_pod().unwrap().clone();
    let daemon = daemon(&lab);
    let (seen, latencies) = watched(&lab, || {
        let of_delay = DELAYS.map(|delay| {
            let asked = responder(&pod, Family::V4, Manner { delay, ..Manner::default() });
            let latencies = measure(&client, at);
            asked.end().unwrap();
            latencies
        });
        of_delay.concat()
    });
    let metrics = daemon.scrape().unwrap();
    for bound in BOUNDS {
        // The client sees an answer a little later than the bridge.
        let least = latencies.iter().filter(|it| **it <= bound).count() as u64;
        let most = latencies.iter().filter(|it| **it <= bound + LATER).count() as u64;
        for told in [by_check(&seen[0], at.ip(), bound), by_run(&metrics, at.ip(), bound)] {
            assert!((least..=most).contains(&told), "{told} up to {bound} s of {latencies:?}");
        }
    }
    let sum = metrics.value(&of_server("dns_latency_seconds_sum", at.ip())).unwrap();
    let measured: f64 = latencies.iter().sum();
    let late = LATER * latencies.len() as f64;
    assert!((measured - late..=measured).contains(&sum), "{sum} s, measured {measured} s");
}

#[test]
fn the_metrics_of_run_are_the_section_of_check() {
    let lab = lab(607);
    let queries = size::of(QUERIES[0], QUERIES[1]);
    let pod = lab.plan().nodes[lab.plan().dns.node].first_pod().unwrap().clone();
    let service = lab.plan().dns_server(Family::V4);
    let at = SocketAddr::new(pod.ip.of(Family::V4), PORT);
    let asked = responder(&pod, Family::V4, Manner { silent: Some(SILENT), ..Manner::default() });
    let daemon = daemon(&lab);
    let (seen, ()) = watched(&lab, || {
        assert_eq!(ask(&lab, service, queries).answered, queries);
        assert_eq!(ask(&lab, at, queries).answered, queries - queries / SILENT);
    });
    asked.end().unwrap();
    let metrics = daemon.scrape().unwrap();
    for server in [service.ip(), at.ip()] {
        let row = row(&seen[0], server);
        let told = [("queries", "dns_queries_total"), ("lost_sight", "dns_lost_sight_total")]
            .into_iter()
            .chain([("answers", "dns_answers_total"), ("timeouts", "dns_timeouts_total")])
            .chain([("retries", "dns_retries_total"), ("late", "dns_late_answers_total")])
            .chain([("unmatched", "dns_unmatched_answers_total")]);
        for (key, name) in told {
            let total = total(&metrics, name, server);
            assert_eq!(row[key], total, "{key} of {row:#}");
        }
        let answers = metrics.value(&of_server("dns_latency_seconds_count", server)).unwrap();
        assert_eq!(row["answers"], answers as u64, "{row:#}");
    }
    assert_eq!(sums(row(&seen[0], at.ip()))[2], queries / SILENT);
}

/// `run` beside the checks, on the clients' node.
fn daemon(lab: &Lab) -> Daemon {
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    let arguments = ["--dns-timeout", timeout.as_str()];
    lab.daemon(client_node(lab), Intent::SubnetEnv, &arguments).unwrap()
}

/// The name of a sample that has no label but the server.
fn of_server(name: &str, server: IpAddr) -> String {
    format!("{name}{{server=\"{server}\"}}")
}

/// The sum of a family over all its labels but the server.
fn total(metrics: &Metrics, family: &str, server: IpAddr) -> u64 {
    let (family, server) = (format!("{family}{{"), format!("server=\"{server}\""));
    let samples = metrics.beginning(&family);
    samples.filter(|(name, _)| name.contains(&server)).map(|(_, value)| value as u64).sum()
}

/// Answers up to a bound.
fn by_run(metrics: &Metrics, server: IpAddr, bound: f64) -> u64 {
    let sample = format!("dns_latency_seconds_bucket{{le=\"{bound:?}\",server=\"{server}\"}}");
    metrics.value(&sample).unwrap() as u64
}

/// The same of the evidence that a check has judged.
fn by_check(watched: &Watched, server: IpAddr, bound: f64) -> u64 {
    let servers = watched.evidence["dns"]["servers"].as_array().unwrap();
    let of_server = servers.iter().find(|it| it["server"] == server.to_string()).unwrap();
    let answers = of_server["answers"].as_array().unwrap().iter();
    let is_below = |row: &&Value| BOUNDS[row["bucket"].as_u64().unwrap() as usize] <= bound;
    answers.filter(is_below).map(|row| row["answers"].as_u64().unwrap()).sum()
}

/// The latencies of some queries as a client measures them, in seconds.
fn measure(client: &Pod, server: SocketAddr) -> Vec<f64> {
    netns::run_in(&client.namespace, || {
        let socket = UdpSocket::bind((client.ip.of(Family::V4), 0))?;
        socket.set_read_timeout(Some(4 * TIMEOUT))?;
        let mut latencies = Vec::new();
        for id in 0..20 {
            let query = [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
            let start = Instant::now();
            socket.send_to(&query, server)?;
            socket.recv(&mut [0; 512])?;
            latencies.push(start.elapsed().as_secs_f64());
        }
        Ok(latencies)
    })
    .unwrap()
}
