//! flannel's `subnet.env`: `KEY=value` lines, written by flannel at start and read by its CNI
//! plugin.

use std::{io, path::Path};

use ipnet::IpNet;

use super::{FileError, LineError, malformed, read_text};
use crate::evidence::SubnetEnv;

/// The smallest and largest MTU that Linux accepts for IPv4 devices (include/linux/netdevice.h,
/// ETH_MIN_MTU and ETH_MAX_MTU).
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;

/// Where flannel writes it, as seen from the node and from a pod that shares the node's processes
/// but not its files (`kubectl debug node`).
pub const PLACES: [&str; 2] = [USUAL_PLACE, "/proc/1/root/run/flannel/subnet.env"];

/// Where flannel writes it on the node.
pub const USUAL_PLACE: &str = "/run/flannel/subnet.env";

/// Reads the first `subnet.env` of these places; `None` when none has one, see [`missing`]. What
/// lies behind another process's root and may not be opened counts as not there.
///
/// # Errors
/// When one cannot be read or is malformed.
pub fn read_first(places: &[&Path]) -> Result<Option<SubnetEnv>, FileError> {
    for path in places {
        let text = match read_text(path) {
            Err(error) if path.starts_with("/proc") && is_forbidden(&error) => None,
            read => read?,
        };
        if let Some(text) = text {
            return parse(path, &text).map(Some);
        }
    }
    Ok(None)
}

fn is_forbidden(error: &FileError) -> bool {
    matches!(error, FileError::Unreadable { error, .. }
        if error.kind() == io::ErrorKind::PermissionDenied)
}

/// What cannot be checked without `subnet.env`: a sentence for the evidence's `unseen`.
#[must_use]
pub fn missing(places: &[&Path]) -> String {
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    format!(
        "what flannel means this node's pod subnet and MTU to be: there is no {} that can be read",
        places.join(" or ")
    )
}

/// `subnet.env` from its text. Blank lines, `#` comments and unknown keys are passed over.
///
/// # Errors
/// The first malformed line, or that no subnet is named.
pub fn parse(path: &Path, text: &str) -> Result<SubnetEnv, FileError> {
    let mut parser = Parser::default();
    let lines = text.lines().enumerate();
    for (index, line) in lines {
        parser.line(line.trim()).map_err(|reason| malformed(path, (index + 1, reason)))?;
    }
    parser.finish(path, text.lines().count().max(1)).map_err(|error| malformed(path, error))
}

#[derive(Default)]
struct Parser {
    networks: Vec<IpNet>,
    subnets: Vec<IpNet>,
    mtu: Option<u32>,
    ip_masq: Option<bool>,
    seen: Vec<String>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("'{line}' is not KEY=value"));
        };
        if self.seen.iter().any(|seen| seen == key) {
            return Err(format!("{key} was set before"));
        }
        self.seen.push(key.to_owned());
        match key {
            "FLANNEL_NETWORK" => {
                self.networks.extend(cidrs(key, value, false)?.iter().map(IpNet::trunc));
            }
            "FLANNEL_IPV6_NETWORK" => {
                self.networks.extend(cidrs(key, value, true)?.iter().map(IpNet::trunc));
            }
            "FLANNEL_SUBNET" => self.subnets.extend(cidrs(key, value, false)?),
            "FLANNEL_IPV6_SUBNET" => self.subnets.extend(cidrs(key, value, true)?),
            "FLANNEL_MTU" => self.mtu = Some(mtu(value)?),
            "FLANNEL_IPMASQ" => self.ip_masq = Some(boolean(value)?),
            _ => {}
        }
        Ok(())
    }

    fn finish(self, path: &Path, last_line: usize) -> Result<SubnetEnv, LineError> {
        if self.subnets.is_empty() {
            let reason = "the file ends without FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET; \
                          restart flannel to have it written again";
            return Err((last_line, reason.to_owned()));
        }
        let Self { networks, subnets, mtu, ip_masq, seen: _ } = self;
        Ok(SubnetEnv { path: path.to_owned(), networks, subnets, mtu, ip_masq })
    }
}

/// One CIDR or several separated by commas, of one family, as written.
fn cidrs(key: &str, value: &str, ipv6: bool) -> Result<Vec<IpNet>, String> {
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    value
        .split(',')
        .map(|part| match part.trim().parse() {
            Ok(IpNet::V6(cidr)) if ipv6 => Ok(cidr.into()),
            Ok(IpNet::V4(cidr)) if !ipv6 => Ok(cidr.into()),
            _ => Err(format!("{key}: '{part}' is not an {family} CIDR")),
        })
        .collect()
}

fn mtu(value: &str) -> Result<u32, String> {
    value.parse().ok().filter(|mtu| MTU.contains(mtu)).ok_or_else(|| {
        format!("FLANNEL_MTU: '{value}' is not a number from {} to {}", MTU.start(), MTU.end())
    })
}

fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("FLANNEL_IPMASQ: '{value}' is not true or false"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: &str = "/run/flannel/subnet.env";

    fn parsed(text: &str) -> Result<SubnetEnv, String> {
        parse(Path::new(PATH), text).map_err(|error| error.to_string())
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn flannels_own_file_is_read() {
        let text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
                    FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\n\
                    FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let env = parsed(text).unwrap();
        assert_eq!(env.path, Path::new(PATH));
        assert_eq!(env.networks, nets(&["10.244.0.0/16", "fd00:244::/48"]));
        assert_eq!(env.subnets, nets(&["10.244.1.1/24", "fd00:244:0:1::1/64"]));
        assert_eq!((env.mtu, env.ip_masq), (Some(1450), Some(true)));
    }

    #[test]
    fn lists_comments_unknown_keys_and_carriage_returns_are_accepted() {
        let text = "# by hand\r\n\r\nFLANNEL_NETWORK=10.244.0.0/16,10.245.0.0/16\r\n\
                    FLANNEL_SUBNET=10.244.1.1/24\r\nFLANNEL_FUTURE=1\r\n";
        let env = parsed(text).unwrap();
        assert_eq!(env.networks, nets(&["10.244.0.0/16", "10.245.0.0/16"]));
        assert_eq!((env.mtu, env.ip_masq), (None, None));
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        for (text, expected) in [
            ("FLANNEL_SUBNET", "line 1: 'FLANNEL_SUBNET' is not KEY=value"),
            ("\nFLANNEL_SUBNET=10.244.1.1", "line 2: FLANNEL_SUBNET: '10.244.1.1' is not an IPv4"),
            ("FLANNEL_SUBNET=fd00::1/64", "line 1: FLANNEL_SUBNET: 'fd00::1/64' is not an IPv4"),
            ("FLANNEL_IPV6_SUBNET=10.0.0.1/8", "'10.0.0.1/8' is not an IPv6 CIDR"),
            ("FLANNEL_NETWORK=10.0.0.0/8,", "FLANNEL_NETWORK: '' is not an IPv4 CIDR"),
            ("FLANNEL_MTU=big", "line 1: FLANNEL_MTU: 'big' is not a number from 68 to 65535"),
            ("FLANNEL_MTU=0", "FLANNEL_MTU: '0' is not a number"),
            ("FLANNEL_IPMASQ=yes", "line 1: FLANNEL_IPMASQ: 'yes' is not true or false"),
            ("FLANNEL_MTU=1450\nFLANNEL_MTU=1450", "line 2: FLANNEL_MTU was set before"),
            ("", "line 1: the file ends without FLANNEL_SUBNET"),
            ("FLANNEL_MTU=1450\n# end\n", "line 2: the file ends without FLANNEL_SUBNET"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(PATH), "{error}");
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_no_error_and_says_what_is_unseen() {
        let missing = Path::new("/nonexistent/subnet.env");
        assert!(read_first(&[missing]).unwrap().is_none());
        let said = super::missing(&[missing, Path::new(PATH)]);
        assert!(
            said.ends_with(
                "no /nonexistent/subnet.env or /run/flannel/subnet.env that can be read"
            )
        );
    }

    #[test]
    fn the_first_file_that_exists_is_read_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let places = ["missing", "here", "there"].map(|name| directory.path().join(name));
        let [missing, here, there] = places.each_ref().map(|path| path.as_path());
        std::fs::write(here, "FLANNEL_SUBNET=10.244.1.1/24\n").unwrap();
        std::fs::write(there, "FLANNEL_SUBNET=10.244.2.1/24\n").unwrap();
        let env = read_first(&[missing, here, there]).unwrap().unwrap();
        assert_eq!((env.path.as_path(), env.subnets), (here, nets(&["10.244.1.1/24"])));
        std::fs::write(here, "nonsense\n").unwrap();
        assert!(read_first(&[here, there]).is_err(), "a broken file is not passed over");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(FLANNEL_(IPV6_)?(NETWORK|SUBNET|MTU|IPMASQ)=)?\\PC*\n?\\PC*") {
            let _ = parsed(&text);
        }
    }
}
