//! Events to stdout, by a thread of their own: a reader that is slow must not hold up the loop.

use std::{
    io::Write as _,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracer::{
    daemon::event::{Event, Throttle, What},
    evidence::Evidence,
    export::text,
};

use crate::cli::Format;

/// Lines that wait for the reader.
const WAITING: usize = 1024;

/// Where events go.
pub(super) struct Teller {
    format: Format,
    lines: SyncSender<String>,
    throttle: Throttle,
    lost: u64,
}

/// The end of the thread that writes.
pub(super) struct Told {
    ended: Receiver<()>,
}

impl Teller {
    /// Starts to write.
    pub(super) fn start(format: Format) -> (Self, Told) {
        let (lines, waiting) = sync_channel::<String>(WAITING);
        let (end, ended) = sync_channel(1);
        thread::spawn(move || {
            write_all(&waiting);
            // Nobody may wait for it.
            let _ = end.send(());
        });
        (Self { format, lines, throttle: Throttle::default(), lost: 0 }, Told { ended })
    }

    /// Events that the reader did not take in time.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Tells of an event; of a finding with its details, which `evidence` belongs to.
    pub(super) fn tell(&mut self, event: Event, evidence: Option<&Evidence>) {
        if let Some(event) = self.throttle.offer(event) {
            self.send(&event, evidence);
        }
    }

    /// When [`Teller::turn`] will have something to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        let wait = self.throttle.due()?.duration_since(Timestamp::now());
        Some(Instant::now() + Duration::try_from(wait).unwrap_or_default())
    }

    /// Tells what was held back, once its second is over.
    pub(super) fn turn(&mut self, now: Timestamp) {
        for event in self.throttle.turn(now) {
            self.send(&event, None);
        }
    }

    fn send(&mut self, event: &Event, evidence: Option<&Evidence>) {
        let line = match self.format {
            Format::Json => event.json().unwrap_or_else(|error| {
                tracing::error!("an event cannot be written as JSON: {error}");
                String::new()
            }),
            Format::Text => in_words(event, evidence),
        };
        if line.is_empty() || self.lines.try_send(line).is_err() {
            self.lost += event.count;
        }
    }
}

impl Told {
    /// Waits until everything is written, at most for `patience`; whether it is.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        self.ended.recv_timeout(patience).is_ok()
    }
}

/// Ends with the last sender, or when the reader has gone: what is sent then counts as lost.
fn write_all(lines: &Receiver<String>) {
    let mut out = anstream::stdout();
    for line in lines {
        let written = writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush());
        if let Err(error) = written {
            tracing::warn!("events can no longer be written to stdout: {error}");
            return;
        }
    }
}

fn in_words(event: &Event, evidence: Option<&Evidence>) -> String {
    let mut words = event.headline();
    if let (What::FindingOpened { finding, .. }, Some(evidence)) = (&event.what, evidence) {
        words.push('\n');
        words.push_str(&text::finding(finding, evidence));
    }
    words
}
