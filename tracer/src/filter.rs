//! `--flow`: which packets a person wants to hear of. Pure.
//!
//! A filter chooses what is told, never what is judged: a fault is proven by the tables and by all
//! packets, whatever somebody looks for.

mod parse;
mod who;

use std::fmt;

use ipnet::IpNet;

pub use self::{parse::FilterError, who::Chosen};

/// Packets, by what is given of `peer`, `source`, `destination`, `port` and `protocol`: all of it
/// has to be true of a packet.
///
/// An address is that of a packet's end, or of the node where this end is: so the outer addresses of
/// a tunnel mean the packets in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowFilter {
    text: String,
    /// At either end.
    peer: Option<IpNet>,
    source: Option<IpNet>,
    destination: Option<IpNet>,
    /// At either end.
    port: Option<u16>,
    protocol: Option<Protocol>,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// ICMP of either IP version.
    Icmp,
    Number(u8),
}

// === impl FlowFilter ===

impl FlowFilter {
    /// What is to be told beside a list that the filter has cut. `unknown` are dropped packets of
    /// which nobody knows whose they were.
    #[must_use]
    pub fn note(&self, unknown: u64) -> String {
        let others = format!("flows and drops other than those of --flow '{self}'");
        let unknown = match unknown {
            0 => String::new(),
            unknown => format!(", nor are {unknown} dropped packets of unknown flows"),
        };
        format!("{others}: they are judged, but not listed{unknown}")
    }

    /// The addresses that are given.
    fn addresses(&self) -> impl Iterator<Item = IpNet> {
        [self.peer, self.source, self.destination].into_iter().flatten()
    }
}

impl fmt::Display for FlowFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
