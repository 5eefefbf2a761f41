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

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{netns, poll::poll_true};

/// How long it waits for the next query before it looks whether it is over.
pub const TURN: Duration = Duration::from_millis(20);
/// Bytes of queries that may wait: more than come while the responder has no turn.
const ROOM: usize = 8 << 20;

/// It answers when it is told to.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

/// What it does with a query.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// One query in so many is not answered.
    pub silent: Option<u64>,
    /// How long an answer takes.
    pub delay: Duration,
    /// Other queries are not kept waiting by the delay of one.
    pub at_once: bool,
    /// Beside the answer to one query in so many goes what is none.
    pub noise: Option<u64>,
    /// The code of the answers (RFC 6895, section 2.3).
    pub rcode: u8,
}

// === impl Responder ===

impl Responder {
    /// Answers at an address of a namespace, as it is told to.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(namespace: &str, at: SocketAddr, manner: Manner) -> Result<Self> {
        let socket = netns::run_in(namespace, || {
            UdpSocket::bind(at).with_context(|| format!("a DNS server at {at} in {namespace}"))
        })?;
        socket.set_read_timeout(Some(TURN)).context("a socket's timeout")?;
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM).context("a socket's room")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || answer(&socket, manner, &stopped));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; how many queries came.
    ///
    /// # Errors
    /// When it could not send; of answers that do not keep others waiting nothing is known.
    pub fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it has ended")?;
        thread.join().map_err(|_| anyhow!("the DNS server panicked"))?
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer(socket: &UdpSocket, manner: Manner, stop: &AtomicBool) -> Result<u64> {
    let mut queries = 0;
    let mut message = [0; 512];
    let is_one_in =
        |number: u64, one_in: Option<u64>| one_in.is_some_and(|it| number.is_multiple_of(it));
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut message) else { continue };
        queries += 1;
        if is_one_in(queries, manner.noise) {
            make_noise(socket, client, &message[..length])?;
        }
        if is_one_in(queries, manner.silent) {
            continue;
        }
        let mut answer = message[..length].to_vec();
        answer[2] |= 0x80;
        answer[3] |= manner.rcode;
        if manner.at_once {
            let socket = socket.try_clone().context("a socket")?;
            thread::spawn(move || send(&socket, client, &answer, manner.delay));
        } else {
            send(socket, client, &answer, manner.delay)?;
        }
    }
    Ok(queries)
}

fn send(socket: &UdpSocket, client: SocketAddr, answer: &[u8], delay: Duration) -> Result<()> {
    if !delay.is_zero() {
        let asked = Instant::now();
        let is_time = || asked.elapsed() >= delay;
        poll_true("the time of the answer", 2 * delay, is_time)?;
    }
    socket.send_to(answer, client).with_context(|| format!("an answer to {client}"))?;
    Ok(())
}

/// What is no answer to any query that waits: a query that comes from a server, an answer that ends
/// early, an empty datagram, answers whose identifier is another's, and one with nothing behind its
/// header.
fn make_noise(socket: &UdpSocket, client: SocketAddr, query: &[u8]) -> Result<()> {
    let mut forged = query.to_vec();
    forged[2] |= 0x80;
    forged[0] ^= 0xff;
    let mut bare = forged[..12].to_vec();
    bare[1] ^= 0xff;
    for message in [query, &forged[..7], &[], &forged, &bare, &forged] {
        socket.send_to(message, client).context("noise")?;
    }
    Ok(())
}
