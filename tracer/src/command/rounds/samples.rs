//! Sampled packets: taken out of the kernel's buffer now and then, and told.

use std::time::{Duration, Instant};

use tracer::{
    daemon::event::{Event, Sampled, What},
    headers::{DnsMessage, Headers},
    kernel::Sample,
};

use super::Rounds;

/// How often samples are taken out of the buffer, which holds some thousands: the kernel wakes nobody.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of samples.
pub(super) struct Sampling {
    /// When to look next; `None` where none are taken.
    pub(super) due: Option<Instant>,
    /// Lost ones of which was told.
    told: u64,
}

impl Sampling {
    pub(super) fn new(is_on: bool) -> Self {
        Self { due: is_on.then(Instant::now), told: 0 }
    }
}

impl Rounds<'_> {
    /// Tells of what was sampled, once it is time.
    pub(super) fn take_due_samples(&mut self) {
        if self.sampling.due.is_some_and(|due| due <= Instant::now()) {
            self.take_samples();
            self.sampling.due = Some(Instant::now() + PAUSE);
        }
    }

    /// Tells of what was sampled until now.
    pub(super) fn take_samples(&mut self) {
        let samples = self.session.take_samples();
        self.tell_samples(samples);
    }

    /// Tells of those that are meant.
    pub(super) fn tell_samples(&mut self, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        let chosen = self.chosen();
        let ports = self.session.tunnel_ports();
        for sample in samples {
            // Only at an uplink a datagram to such a port is one of this node's tunnel; elsewhere it is
            // a pod's own.
            let ports = if sample.is_at_uplink { ports.as_slice() } else { &[] };
            let has_ethernet = self.session.has_ethernet(sample.ifindex);
            let headers = Headers::read(&sample.bytes, has_ethernet, ports);
            if chosen.as_ref().is_some_and(|it| !it.takes_packet(&headers)) {
                continue;
            }
            let (time, index) = (sample.time, sample.ifindex);
            let interface = self.live.link(index).map(|link| link.name.clone());
            let interface = interface.or_else(|| self.parts.name(index));
            let wants_names = self.wanted.samples.dns_names;
            let dns =
                wants_names.then(|| DnsMessage::read(&sample.bytes, has_ethernet, ports)).flatten();
            let sample = Box::new(Sampled::of(sample, interface, headers, dns));
            let event = Event::new(time, self.known.node.name.clone(), What::Sample { sample });
            if let Some(teller) = &mut self.teller {
                teller.tell(event, None);
            }
        }
    }

    /// Tells how many found no room in the kernel's buffer.
    pub(super) fn tell_lost_samples(&mut self) {
        let lost = self.totals.sums().samples_lost();
        let new = lost.saturating_sub(self.sampling.told);
        if new > 0 && self.teller.is_some() {
            self.tell(What::Lost { source: "samples" }, new);
            self.sampling.told = lost;
        }
    }
}
