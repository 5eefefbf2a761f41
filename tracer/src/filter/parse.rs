//! The words of a filter.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::{FlowFilter, Protocol};
use crate::evidence::{Family, has_ports};

/// Protocols that are known by name, and their numbers.
const NAMES: [(&str, Protocol); 5] = [
    ("tcp", Protocol::Number(6)),
    ("udp", Protocol::Number(17)),
    ("sctp", Protocol::Number(132)),
    ("icmp", Protocol::Icmp),
    ("icmpv6", Protocol::Number(58)),
];

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is nothing in it.
    #[error(
        "it is empty: write one or more of peer=…, source=…, destination=…, port=…, protocol=…"
    )]
    Empty,
    /// A word without `=`, or with nothing behind it.
    #[error("'{0}' is no KEY=VALUE: write words like source=10.244.1.7, with spaces between them")]
    NoPair(String),
    /// There is no such key.
    #[error("there is no key '{0}': write peer, source, destination, port or protocol")]
    UnknownKey(String),
    /// A packet has one of each.
    #[error("{0} is given twice: all that is given has to be true of one packet")]
    Twice(&'static str),
    /// Neither an address nor a network.
    #[error("{0}={1}: write an address or a network, such as 10.244.1.7 or 10.244.1.0/24")]
    NoAddress(&'static str, String),
    /// No port.
    #[error("port={0}: write a number from 1 to 65535")]
    NoPort(String),
    /// No protocol.
    #[error("protocol={0}: write tcp, udp, sctp, icmp, icmpv6 or a number up to 255")]
    NoProtocol(String),
    /// A port of what has none.
    #[error("port={0} with protocol={1}: only tcp, udp and sctp have ports")]
    Portless(u16, String),
    /// Addresses of both IP versions.
    #[error("addresses of IPv4 and of IPv6: no packet has both")]
    BothFamilies,
}

impl FromStr for FlowFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err(FilterError::Empty);
        }
        let mut filter = Self {
            text: words.join(" "),
            peer: None,
            source: None,
            destination: None,
            port: None,
            protocol: None,
        };
        for word in words {
            filter.take(word)?;
        }
        filter.require_possible()?;
        Ok(filter)
    }
}

impl FlowFilter {
    fn take(&mut self, word: &str) -> Result<(), FilterError> {
        let (key, value) = word
            .split_once('=')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .ok_or_else(|| FilterError::NoPair(word.to_owned()))?;
        match key {
            "peer" => set("peer", &mut self.peer, network("peer", value)?),
            "source" => set("source", &mut self.source, network("source", value)?),
            "destination" => {
                set("destination", &mut self.destination, network("destination", value)?)
            }
            "port" => set("port", &mut self.port, port(value)?),
            "protocol" => set("protocol", &mut self.protocol, protocol(value)?),
            _ => Err(FilterError::UnknownKey(key.to_owned())),
        }
    }

    /// Refuses what no packet can be.
    fn require_possible(&self) -> Result<(), FilterError> {
        let mut families = self.addresses().map(Family::of_net);
        if families.next().is_some_and(|first| families.any(|other| other != first)) {
            return Err(FilterError::BothFamilies);
        }
        let has_ports = match self.protocol {
            None => true,
            Some(Protocol::Number(number)) => has_ports(number),
            Some(Protocol::Icmp) => false,
        };
        match self.port {
            Some(port) if !has_ports => {
                let words = self.text.split(' ');
                let protocol = words.filter_map(|word| word.strip_prefix("protocol=")).collect();
                Err(FilterError::Portless(port, protocol))
            }
            _ => Ok(()),
        }
    }
}

impl Protocol {
    /// Whether packets of this number are meant.
    pub(super) fn is(self, number: u8) -> bool {
        match self {
            Self::Icmp => matches!(number, 1 | 58),
            Self::Number(own) => own == number,
        }
    }
}

fn set<T>(key: &'static str, place: &mut Option<T>, value: T) -> Result<(), FilterError> {
    if place.replace(value).is_some() { Err(FilterError::Twice(key)) } else { Ok(()) }
}

fn network(key: &'static str, value: &str) -> Result<IpNet, FilterError> {
    let address = value.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| value.parse::<IpNet>().map(|it| it.trunc()));
    network.map_err(|_| FilterError::NoAddress(key, value.to_owned()))
}

fn port(value: &str) -> Result<u16, FilterError> {
    let port = value.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| FilterError::NoPort(value.to_owned()))
}

fn protocol(value: &str) -> Result<Protocol, FilterError> {
    let named = NAMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    let number = || value.parse().ok().map(Protocol::Number);
    let protocol = named.map(|(_, protocol)| protocol).or_else(number);
    protocol.ok_or_else(|| FilterError::NoProtocol(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<FlowFilter, FilterError> {
        text.parse()
    }

    #[test]
    fn everything_that_is_given_is_taken_over() {
        let all =
            "peer=192.0.2.2 source=10.244.1.7  destination=10.244.3.9/24\tport=53 protocol=UDP";
        let filter = parsed(all).unwrap();
        let net = |text: &str| Some(text.parse().unwrap());
        assert_eq!(filter.peer, net("192.0.2.2/32"));
        assert_eq!(filter.source, net("10.244.1.7/32"));
        assert_eq!(filter.destination, net("10.244.3.0/24"));
        assert_eq!((filter.port, filter.protocol), (Some(53), Some(Protocol::Number(17))));
        assert_eq!(filter.to_string(), all.replace("  ", " ").replace('\t', " "));
        assert_eq!(parsed("source=fd00::1").unwrap().source, net("fd00::1/128"));
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        let of = |text: &str| parsed(&format!("protocol={text}")).map(|it| it.protocol);
        assert_eq!(of("132"), of("sctp"));
        assert!(Protocol::Icmp.is(1) && Protocol::Icmp.is(58) && !Protocol::Icmp.is(6));
        assert_eq!(of("icmp"), Ok(Some(Protocol::Icmp)));
        assert_eq!(of("1"), Ok(Some(Protocol::Number(1))), "of IPv4 alone");
        assert_eq!(of("icmpv6"), Ok(Some(Protocol::Number(58))));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_what_to_write() {
        for (text, part) in [
            ("", "one or more of peer="),
            ("  ", "one or more of peer="),
            ("10.244.1.7", "'10.244.1.7' is no KEY=VALUE"),
            ("source=", "'source=' is no KEY=VALUE"),
            ("=5", "'=5' is no KEY=VALUE"),
            ("src=10.244.1.7", "no key 'src': write peer, source"),
            ("port=5 port=6", "port is given twice"),
            ("source=n1", "source=n1: write an address or a network"),
            ("source=10.244.1.7,port=5", "source=10.244.1.7,port=5: write an address"),
            ("peer=10.244.1.0/33", "peer=10.244.1.0/33"),
            ("port=0", "1 to 65535"),
            ("port=65536", "1 to 65535"),
            ("port=dns", "port=dns"),
            ("protocol=256", "protocol=256: write tcp"),
            ("protocol=http", "write tcp"),
            ("port=53 protocol=icmp", "port=53 with protocol=icmp: only tcp"),
            ("port=53 protocol=47", "port=53 with protocol=47: only tcp"),
            ("source=10.244.1.7 destination=fd00::1", "no packet has both"),
        ] {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = parsed(&text);
        }

        #[test]
        fn what_is_parsed_says_itself_again(
            source in any::<[u8; 4]>(), length in 0..=32_u8, port in 1..=u16::MAX,
        ) {
            let source = IpAddr::from(source);
            let filter = parsed(&format!("source={source}/{length} port={port}")).unwrap();
            prop_assert_eq!(parsed(&filter.to_string()), Ok(filter));
        }
    }
}
