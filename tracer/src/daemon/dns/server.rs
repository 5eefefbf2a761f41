//! What was counted of one server that has series. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use tracer_common::dns::{DnsCount, DnsKey};

use super::{Counts, IDLE, add};

/// Endpoints of a server that have series: the pods behind a service come and go, and each has twenty.
const ENDPOINTS: usize = 16;

/// A server that has series.
#[derive(Debug, Default, Clone)]
pub(super) struct Server {
    counts: Counts,
    /// When something was counted last, in seconds of the caller's clock.
    last: f64,
    /// The endpoints that have series, and when one answered last.
    endpoints: BTreeMap<IpAddr, f64>,
}

// === impl Server ===

impl Server {
    /// One that begins with what was counted of it.
    pub(super) fn new(now: f64, counts: Counts) -> Self {
        let mut server = Self { last: now, ..Self::default() };
        for (key, count) in counts {
            server.count(now, key, count);
        }
        server
    }

    /// Takes over by how much a count has risen.
    pub(super) fn count(&mut self, now: f64, key: DnsKey, rise: DnsCount) {
        self.last = now;
        let has_series = key.endpoint().is_none_or(|endpoint| self.has_series(now, endpoint));
        add(&mut self.counts, if has_series { key } else { key.of_any_endpoint() }, rise);
    }

    /// Whether an endpoint that answers has series, from now on or already.
    fn has_series(&mut self, now: f64, endpoint: IpAddr) -> bool {
        let has = self.endpoints.len() < ENDPOINTS || self.endpoints.contains_key(&endpoint);
        if has {
            self.endpoints.insert(endpoint, now);
        }
        has
    }

    /// Whether nothing has been counted for long.
    pub(super) fn is_idle(&self, now: f64) -> bool {
        now - self.last >= IDLE
    }

    /// What endpoints have answered that are idle is counted without them from now on.
    pub(super) fn expire(&mut self, now: f64) {
        let gone: Vec<IpAddr> =
            self.endpoints.extract_if(.., |_, last| now - *last >= IDLE).map(|it| it.0).collect();
        if gone.is_empty() {
            return;
        }
        let is_gone =
            |key: &DnsKey| key.endpoint().is_some_and(|endpoint| gone.contains(&endpoint));
        let counts: Vec<_> = self.counts.extract_if(.., |key, _| is_gone(key)).collect();
        for (key, count) in counts {
            add(&mut self.counts, key.of_any_endpoint(), count);
        }
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn into_counts(self) -> Counts {
        self.counts
    }
}
