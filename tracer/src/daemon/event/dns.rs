//! DNS queries without an answer, as events.

use std::net::IpAddr;

use serde::Serialize;

use super::What;
use crate::evidence::{Dns, Stage};

/// Queries to one server that were lost on one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DnsTimeout {
    /// The server as the client knows it; null for servers for which there was no room.
    pub server: Option<IpAddr>,
    /// Where the queries really went; null where no stage tells.
    pub endpoint: Option<IpAddr>,
    /// The last stage that saw the query.
    pub lost_after: Stage,
    /// The last stage that saw an answer.
    pub answer_last_stage: Option<Stage>,
}

/// Events of the queries that timed out in a window, with how many times each.
#[must_use]
pub fn of_dns(dns: &Dns) -> Vec<(What, u64)> {
    let mut events = Vec::new();
    for server in &dns.servers {
        for lost in &server.timeouts {
            let timeout = DnsTimeout {
                server: server.server,
                endpoint: lost.endpoint,
                lost_after: lost.query,
                answer_last_stage: lost.answer,
            };
            events.push((What::DnsTimeout(timeout), lost.queries));
        }
    }
    events
}

// === impl DnsTimeout ===

impl DnsTimeout {
    /// It in one line.
    pub(super) fn headline(&self) -> String {
        let server = self.server.map_or_else(|| "other servers".to_owned(), |it| it.to_string());
        let endpoint = self.endpoint.filter(|it| Some(*it) != self.server);
        let endpoint = endpoint.map(|it| format!(" ({it})")).unwrap_or_default();
        let answer = self.answer_last_stage;
        let answer =
            answer.map(|it| format!(", its answer after {}", it.name())).unwrap_or_default();
        format!("dns-timeout  {server}{endpoint} lost after {}{answer}", self.lost_after.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{DnsServer, DnsTimeouts};

    #[test]
    fn a_timeout_names_the_server_and_where_it_was_lost() {
        let timeouts = vec![DnsTimeouts {
            endpoint: Some("10.244.3.5".parse().unwrap()),
            query: Stage::WireOut,
            answer: Some(Stage::WireIn),
            queries: 3,
        }];
        let server = Some("10.96.0.10".parse().unwrap());
        let servers = vec![DnsServer { server, timeouts, ..DnsServer::default() }];
        let events = of_dns(&Dns { timeout_seconds: 2.0, servers });
        let [(what, 3)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(
            what.headline(),
            "dns-timeout  10.96.0.10 (10.244.3.5) lost after wire_out, its answer after wire_in"
        );
        let json = serde_json::to_value(what).unwrap();
        assert_eq!(
            (&json["kind"], &json["lost_after"]),
            (&"dns-timeout".into(), &"wire_out".into())
        );
        assert_eq!(json["server"], "10.96.0.10");
    }
}
