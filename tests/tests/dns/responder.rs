//! A DNS server of the tests' own.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};
use tracer_tests::{
    netns,
    plan::{Family, Pod},
    poll::poll_true,
};

use crate::{PORT, TURN};

/// Bytes of queries that may wait: more than come while the responder has no turn.
const ROOM: usize = 8 << 20;

/// It answers when it is told to.
pub(crate) struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

/// What it does with a query.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    /// One query in so many is not answered.
    pub(crate) silent: Option<u64>,
    /// How long an answer takes.
    pub(crate) delay: Duration,
    /// Beside the answer to one query in so many goes what is none.
    pub(crate) noise: Option<u64>,
}

// === impl Responder ===

impl Responder {
    /// Answers every query but one in `silent`, after `delay`.
    pub(crate) fn start(pod: &Pod, family: Family, silent: Option<u64>, delay: Duration) -> Self {
        Self::with(pod, family, Manner { silent, delay, noise: None })
    }

    /// Answers as it is told to.
    pub(crate) fn with(pod: &Pod, family: Family, manner: Manner) -> Self {
        let at = SocketAddr::new(pod.ip.of(family), PORT);
        let socket = netns::run_in(&pod.namespace, || Ok(UdpSocket::bind(at)?)).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || answer(&socket, manner, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// Ends it; how many queries came.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer(socket: &UdpSocket, manner: Manner, stop: &AtomicBool) -> u64 {
    let mut queries = 0;
    let mut message = [0; 512];
    let is_one_in =
        |number: u64, one_in: Option<u64>| one_in.is_some_and(|it| number.is_multiple_of(it));
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut message) else { continue };
        queries += 1;
        if is_one_in(queries, manner.noise) {
            make_noise(socket, client, &message[..length]);
        }
        if is_one_in(queries, manner.silent) {
            continue;
        }
        if !manner.delay.is_zero() {
            let asked = Instant::now();
            let is_time = || asked.elapsed() >= manner.delay;
            poll_true("the time of the answer", 2 * manner.delay, is_time).unwrap();
        }
        message[2] |= 0x80;
        socket.send_to(&message[..length], client).unwrap();
    }
    queries
}

/// What is no answer to any query that waits: a query that comes from a server, an answer that ends
/// early, an empty datagram, answers whose identifier is another's, and one with nothing behind its
/// header.
fn make_noise(socket: &UdpSocket, client: SocketAddr, query: &[u8]) {
    let mut forged = query.to_vec();
    forged[2] |= 0x80;
    forged[0] ^= 0xff;
    let mut bare = forged[..12].to_vec();
    bare[1] ^= 0xff;
    for message in [query, &forged[..7], &[], &forged, &bare, &forged] {
        socket.send_to(message, client).unwrap();
    }
}
