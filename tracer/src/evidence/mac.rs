use std::{fmt, str::FromStr};

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
