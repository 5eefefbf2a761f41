//! The steady beat of a generator, and its end.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Counts, Limits};

/// Asks generators to stop, without delay.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// What one attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The right answer, with so many bytes confirmed.
    Answered { bytes: u64 },
    /// Nothing came, or nothing was expected.
    Silence,
    /// The system refused: no route, connection refused.
    Error,
}

// === impl Stop ===

impl Stop {
    /// Stops everything that watches.
    pub fn now(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until an instant; true when stopped before.
    pub(super) fn before(&self, instant: Instant) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let left = instant.saturating_duration_since(Instant::now());
        let (stopped, _) = self
            .changed
            .wait_timeout_while(stopped, left, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

/// Calls `attempt` with a running number at the rate of the limits. An attempt that waits for an
/// answer delays the next ones; they are not made up for, so that a broken network is not flooded
/// when it heals.
pub(super) fn paced(
    limits: Limits,
    stop: &Stop,
    mut attempt: impl FnMut(u64) -> Result<Outcome>,
) -> Result<Counts> {
    let interval = Duration::from_secs_f64(1.0 / limits.rate.max(0.001));
    let end = Instant::now() + Duration::from_secs_f64(limits.seconds.max(0.0));
    let mut next = Instant::now();
    let mut counts = Counts::default();
    while limits.count.is_none_or(|count| counts.sent < count) && Instant::now() < end {
        if stop.before(next) {
            break;
        }
        let number = counts.sent;
        counts.sent += 1;
        match attempt(number)? {
            Outcome::Answered { bytes } => {
                counts.answered += 1;
                counts.bytes += bytes;
            }
            Outcome::Silence => {}
            Outcome::Error => counts.errors += 1,
        }
        next = (next + interval).max(Instant::now().checked_sub(MAX_LAG).unwrap_or(next));
    }
    Ok(counts)
}

/// How far behind its beat a generator may run before the missed attempts are forgotten. Short of
/// the 1,000 packets that fit into a CPU's backlog (net.core.netdev_max_backlog) at any rate here.
const MAX_LAG: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_count_is_exact() {
        let counts = paced(Limits::exactly(100, 1e6), &Stop::default(), |number| {
            Ok(if number % 2 == 0 { Outcome::Silence } else { Outcome::Answered { bytes: 3 } })
        })
        .unwrap();
        assert_eq!(counts, Counts { sent: 100, answered: 50, errors: 0, bytes: 150 });
    }

    #[test]
    fn a_stopped_generator_sends_nothing_more() {
        let stop = Stop::default();
        let counts = paced(Limits::steady(1e6), &stop, |number| {
            if number == 9 {
                stop.now();
            }
            Ok(Outcome::Error)
        })
        .unwrap();
        assert_eq!((counts.sent, counts.errors), (10, 10));
    }

    #[test]
    fn no_time_means_no_attempt() {
        let limits = Limits { rate: 10.0, count: None, seconds: 0.0 };
        let counts = paced(limits, &Stop::default(), |_| Ok(Outcome::Silence)).unwrap();
        assert_eq!(counts, Counts::default());
    }
}
