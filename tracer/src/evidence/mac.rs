use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// An Ethernet address; in text `aa:bb:cc:dd:ee:ff`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Text that is not six hexadecimal octets separated by colons.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a MAC address (six hexadecimal octets separated by ':')")]
pub struct MacParseError(String);

impl MacAddress {
    /// All zeros: in a VXLAN FDB the default entry, to which unknown addresses are sent.
    pub const ZERO: Self = Self([0; 6]);

    /// The MAC from which the kernel made an interface identifier of the form EUI-64 (RFC 4291,
    /// appendix A); `None` for addresses that were made otherwise.
    #[must_use]
    pub const fn of_eui64(address: Ipv6Addr) -> Option<Self> {
        let [.., a, b, c, 0xff, 0xfe, d, e, g] = address.octets() else { return None };
        // The bit for "unique in the world" is inverted there.
        Some(Self([a ^ 2, b, c, d, e, g]))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MacParseError(text.to_owned());
        let mut octets = text
            .split(':')
            .map(|part| (part.len() <= 2).then(|| u8::from_str_radix(part, 16).ok()).flatten());
        let mut mac = [0; 6];
        for octet in &mut mac {
            *octet = octets.next().flatten().ok_or_else(wrong)?;
        }
        if octets.next().is_some() { Err(wrong()) } else { Ok(Self(mac)) }
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_octets_agree() {
        let mac = MacAddress([0x02, 0xff, 0, 0x0a, 0xbc, 0x10]);
        assert_eq!(mac.to_string(), "02:ff:00:0a:bc:10");
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn a_mac_is_read_from_an_address_that_was_made_of_it() {
        let of = |text: &str| MacAddress::of_eui64(text.parse().unwrap());
        let mac = MacAddress([0x1e, 0x2d, 0x3e, 0x4f, 0x50, 0x61]);
        assert_eq!(of("fe80::1c2d:3eff:fe4f:5061"), Some(mac));
        assert_eq!(of("fe80::5c9b:1f2e:8a77:1234"), None, "stable privacy");
    }

    #[test]
    fn anything_but_six_octets_is_refused() {
        for text in [
            "",
            "02:ff:00:0a:bc",
            "02:ff:00:0a:bc:10:11",
            "02:ff:00:0a:bc:zz",
            "02-ff-00-0a-bc-10",
            "+2:ff:00:0a:bc:100",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
