use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Stage;

/// What became of DNS queries over UDP in the window, by server. Of each server the queries are
/// those that were answered in time, timed out, still wait, or were lost sight of.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// How long a server may take for its answer.
    pub timeout_seconds: f64,
    /// The servers that were asked, most queries first.
    pub servers: Vec<DnsServer>,
}

/// A server as those see it who ask.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsServer {
    /// Its address, before any translation on this node; `None` for all for which there was no room.
    pub server: Option<IpAddr>,
    /// Queries, however often they were sent.
    pub queries: u64,
    /// How often one was sent again.
    pub retries: u64,
    /// Those that still wait, and not for too long.
    pub pending: u64,
    /// Those whose place another query took: what became of them is not known.
    pub lost_sight: u64,
    /// Answers that came from it to no open query.
    pub unmatched: u64,
    /// What it answered in time.
    pub answers: Vec<DnsAnswers>,
    /// What it answered too late, which is among the timeouts.
    pub late: Vec<DnsAnswers>,
    /// What it did not answer in time.
    pub timeouts: Vec<DnsTimeouts>,
    /// The same server over TCP.
    pub tcp: DnsTcp,
    /// Whether a rule of kube-proxy on this node names its address; `None` where nobody asked, or
    /// where that cannot be read.
    #[serde(default)]
    pub has_service_rules: Option<bool>,
}

/// Answers of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsAnswers {
    /// Who really answered; `None` where no stage tells.
    pub endpoint: Option<IpAddr>,
    /// The code (RFC 6895, section 2.3), 0 without error.
    pub rcode: u8,
    /// They were cut off.
    pub truncated: bool,
    /// The bucket of their latency: see [`tracer_common::dns::LATENCY_BOUNDS`].
    pub bucket: usize,
    /// How many.
    pub answers: u64,
    /// Sum of their latencies.
    pub seconds: f64,
}

/// Queries that were lost on one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsTimeouts {
    /// Where they really went; `None` where no stage tells.
    pub endpoint: Option<IpAddr>,
    /// The last stage that saw the query.
    pub query: Stage,
    /// The last stage that saw an answer.
    pub answer: Option<Stage>,
    /// How many.
    pub queries: u64,
}

/// Connections to a DNS server, by the flow table: a lower bound.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsTcp {
    /// Connections.
    pub connections: u64,
    /// Those in which the server said something.
    pub answered: u64,
}

impl DnsServer {
    /// Answers in time.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.iter().map(|it| it.answers).sum()
    }

    /// Queries that were not answered in time.
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        self.timeouts.iter().map(|it| it.queries).sum()
    }

    /// Answers that came too late.
    #[must_use]
    pub fn answered_late(&self) -> u64 {
        self.late.iter().map(|it| it.answers).sum()
    }

    /// Where queries to it go, as far as that is known.
    #[must_use]
    pub fn endpoints(&self) -> Vec<IpAddr> {
        let of_answers = self.answers.iter().chain(&self.late).filter_map(|it| it.endpoint);
        let of_timeouts = self.timeouts.iter().filter_map(|it| it.endpoint);
        let mut endpoints: Vec<IpAddr> = of_answers.chain(of_timeouts).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints
    }
}

/// Which part of queries may be answered of a server that does not answer.
const SELDOM: u64 = 5;

/// Whether of so many queries next to none were answered. A client whose port was used a moment ago
/// still finds the way that the table of connections keeps, and an answer of before comes late.
pub(crate) const fn next_to_none(answers: u64, queries: u64) -> bool {
    answers * SELDOM <= queries
}
