//! Events to stdout, by a thread of their own: a reader that is slow must not hold up the loop.

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{sync::oneshot, time::timeout};
use tracer::{
    daemon::event::{Event, Throttle, What},
    evidence::Evidence,
    export::text,
};

use crate::cli::Format;

/// Lines that wait for the reader.
const WAITING: usize = 1024;
/// How often it is looked whether the reader is still there while there is nothing to write.
const LOOK: Duration = Duration::from_secs(1);

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Reader {
    /// A log: when it goes away, everything else goes on.
    Log,
    /// Who everything is done for: it is looked whether it is still there.
    Person,
}

/// Where events go.
pub(in crate::command) struct Teller {
    format: Format,
    lines: SyncSender<String>,
    throttle: Throttle,
    /// Samples, of which there may be many, have one of their own.
    sample_throttle: Throttle,
    lost: u64,
    /// Lost ones of which the reader was not told yet.
    untold: u64,
}

/// The end of the thread that writes.
pub(in crate::command) struct Written {
    end: oneshot::Receiver<io::Result<()>>,
    has_ended: bool,
}

// === impl Teller ===

impl Teller {
    /// Starts to write; `sampled` says whether there will be samples.
    pub(in crate::command) fn start(
        format: Format,
        reader: Reader,
        sampled: bool,
    ) -> (Self, Written) {
        let (lines, waiting) = sync_channel::<String>(WAITING);
        let (ended, end) = oneshot::channel();
        thread::spawn(move || {
            // Nobody may wait for it.
            let _ = ended.send(write_all(&waiting, reader));
        });
        let [throttle, sample_throttle] = Throttle::halves();
        let throttle = if sampled { throttle } else { Throttle::default() };
        let teller = Self { format, lines, throttle, sample_throttle, lost: 0, untold: 0 };
        (teller, Written { end, has_ended: false })
    }

    /// Events that the reader did not take in time.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Tells of an event; of a finding with its details, which `evidence` belongs to.
    pub(super) fn tell(&mut self, event: Event, evidence: Option<&Evidence>) {
        let throttle = match event.what {
            What::Sample { .. } => &mut self.sample_throttle,
            _ => &mut self.throttle,
        };
        if let Some(event) = throttle.offer(event) {
            self.send(&event, evidence);
        }
    }

    /// When [`Teller::turn`] will have something to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = [self.throttle.due(), self.sample_throttle.due()].into_iter().flatten().min();
        let wait = due?.duration_since(Timestamp::now());
        Some(Instant::now() + Duration::try_from(wait).unwrap_or_default())
    }

    /// Tells what was held back, once its second is over.
    pub(super) fn turn(&mut self, now: Timestamp) {
        let samples = self.sample_throttle.turn(now);
        for event in self.throttle.turn(now).into_iter().chain(samples) {
            self.send(&event, None);
        }
    }

    /// Tells what was held back, at the end.
    pub(super) fn end(mut self) {
        let samples = self.sample_throttle.rest();
        for event in self.throttle.rest().into_iter().chain(samples) {
            self.send(&event, None);
        }
        if self.untold > 0 {
            tracing::warn!("the reader was too slow for the last {} events", self.untold);
        }
    }

    /// What a reader does not take in time is counted, and the reader is told before the next event.
    fn send(&mut self, event: &Event, evidence: Option<&Evidence>) {
        if self.untold > 0 {
            let lost = What::Lost { source: "events" };
            let lost = Event::new(event.time, event.node.clone(), lost);
            if self.pass(&lost.times(self.untold), None) {
                self.untold = 0;
            }
        }
        if self.untold > 0 || !self.pass(event, evidence) {
            self.lost += event.count;
            self.untold += event.count;
        }
    }

    /// Whether there was room for it.
    fn pass(&self, event: &Event, evidence: Option<&Evidence>) -> bool {
        let line = match self.format {
            Format::Json => event.json().unwrap_or_else(|error| {
                tracing::error!("an event cannot be written as JSON: {error}");
                String::new()
            }),
            Format::Text => in_words(event, evidence),
        };
        !line.is_empty() && self.lines.try_send(line).is_ok()
    }
}

// === impl Written ===

impl Written {
    /// Waits until nothing can be written any more; an error that is more than a reader who has
    /// read what they wanted is the caller's.
    pub(in crate::command) async fn reader_has_gone(&mut self) -> io::Result<()> {
        let end = (&mut self.end).await;
        self.has_ended = true;
        match end {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until everything is written, at most for `patience`; whether it is.
    pub(in crate::command) async fn wait(mut self, patience: Duration) -> bool {
        self.has_ended || matches!(timeout(patience, &mut self.end).await, Ok(Ok(Ok(()))))
    }
}

/// Ends with the last sender, or when the reader has gone: what is sent then counts as lost.
fn write_all(lines: &Receiver<String>, reader: Reader) -> io::Result<()> {
    let mut out = anstream::stdout();
    loop {
        let line = match lines.recv_timeout(LOOK) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if reader == Reader::Person && nobody_reads() => {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Err(RecvTimeoutError::Timeout) => continue,
        };
        let written = writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush());
        if let Err(error) = written {
            if reader == Reader::Log {
                tracing::warn!("events can no longer be written to stdout: {error}");
            }
            return Err(error);
        }
    }
}

/// Whether the other end of a pipe or a terminal is closed: poll(2) says so without being asked.
fn nobody_reads() -> bool {
    let out = io::stdout();
    let mut asked = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut asked, PollTimeout::ZERO).is_ok()
        && asked[0].revents().is_some_and(|events| events.intersects(gone))
}

fn in_words(event: &Event, evidence: Option<&Evidence>) -> String {
    let mut words = event.headline();
    if let (What::FindingOpened { finding, .. }, Some(evidence)) = (&event.what, evidence) {
        words.push('\n');
        words.push_str(&text::finding(finding, evidence));
    }
    words
}
