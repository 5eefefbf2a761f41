//! The peers file: a line a peer, `POD_CIDR NODE_IP [VTEP_MAC [NAME]]`, `#` begins a comment.

use std::{io, net::IpAddr, path::Path};

use ipnet::IpNet;

use super::{FileError, malformed, read_text};
use crate::evidence::{MacAddress, PeerIntent};

const FORM: &str = "POD_CIDR NODE_IP [VTEP_MAC [NAME]]";

/// Reads a peers file. The node's own line may be among them.
///
/// # Errors
/// When it does not exist, cannot be read or is malformed.
pub fn read(path: &Path) -> Result<Vec<PeerIntent>, FileError> {
    let text = read_text(path)?.ok_or_else(|| FileError::Unreadable {
        path: path.to_owned(),
        error: io::Error::from_raw_os_error(libc::ENOENT),
    })?;
    parse(path, &text)
}

/// The peers from the text of a peers file.
///
/// # Errors
/// The first malformed line, or two lines whose pod CIDRs overlap.
pub fn parse(path: &Path, text: &str) -> Result<Vec<PeerIntent>, FileError> {
    let mut peers: Vec<(usize, PeerIntent)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let content = line.split('#').next().unwrap_or_default();
        let parsed = peer(content).and_then(|peer| {
            if let Some(peer) = &peer {
                no_overlap(&peers, peer)?;
            }
            Ok(peer)
        });
        let found = parsed.map_err(|reason| malformed(path, (number, reason)))?;
        if let Some(mut peer) = found {
            peer.source = format!("peers file {} line {number}", path.display());
            peers.push((number, peer));
        }
    }
    Ok(peers.into_iter().map(|(_, peer)| peer).collect())
}

/// The peer of one line without its comment; `None` for a blank one.
fn peer(line: &str) -> Result<Option<PeerIntent>, String> {
    let mut fields = line.split_whitespace();
    let Some(pod_cidr) = fields.next() else { return Ok(None) };
    let node_ip = fields.next().ok_or_else(|| format!("the node's address is missing: {FORM}"))?;
    let peer = PeerIntent {
        pod_cidr: cidr(pod_cidr)?,
        node_ip: address(node_ip)?,
        vtep_mac: fields.next().map(mac).transpose()?,
        name: fields.next().map(str::to_owned),
        source: String::new(),
    };
    match fields.next() {
        Some(surplus) => Err(format!("'{surplus}' is one field too many: {FORM}")),
        None => Ok(Some(peer)),
    }
}

fn cidr(text: &str) -> Result<IpNet, String> {
    let cidr: IpNet = text.parse().map_err(|_| format!("'{text}' is not a CIDR: {FORM}"))?;
    if cidr.trunc() == cidr {
        Ok(cidr)
    } else {
        Err(format!("'{text}' is an address within a CIDR: write {}", cidr.trunc()))
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| format!("'{text}' is not an IP address: {FORM}"))?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!("'{text}' cannot be the address of another node"));
    }
    Ok(address)
}

fn mac(text: &str) -> Result<MacAddress, String> {
    let mac: MacAddress = text.parse().map_err(|error| format!("{error}: {FORM}"))?;
    // The lowest bit of the first octet marks a group (IEEE 802).
    if mac == MacAddress::ZERO || mac.0[0] & 1 == 1 {
        return Err(format!("'{text}' cannot be the MAC address of a device"));
    }
    Ok(mac)
}

fn no_overlap(peers: &[(usize, PeerIntent)], new: &PeerIntent) -> Result<(), String> {
    let overlaps = |other: &IpNet| other.contains(&new.pod_cidr) || new.pod_cidr.contains(other);
    match peers.iter().find(|(_, peer)| overlaps(&peer.pod_cidr)) {
        Some((line, peer)) => {
            Err(format!("{} overlaps with {} in line {line}", new.pod_cidr, peer.pod_cidr))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<PeerIntent>, String> {
        parse(Path::new("peers.txt"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_with_two_three_and_four_fields_are_read() {
        let text = "# our cluster\n10.244.2.0/24 192.0.2.2\n\n\
                    10.244.3.0/24\t192.0.2.3 02:00:00:00:03:01 # no name\n\
                    fd00:4::/64 2001:db8::4 02:00:00:00:04:01 n4\r\n";
        let peers = parsed(text).unwrap();
        assert_eq!(peers.len(), 3);
        let first = PeerIntent {
            pod_cidr: "10.244.2.0/24".parse().unwrap(),
            node_ip: "192.0.2.2".parse().unwrap(),
            vtep_mac: None,
            name: None,
            source: "peers file peers.txt line 2".to_owned(),
        };
        assert_eq!(peers[0], first);
        assert_eq!(peers[1].vtep_mac, Some(MacAddress([2, 0, 0, 0, 3, 1])));
        assert_eq!(peers[1].name, None);
        assert_eq!(peers[2].name.as_deref(), Some("n4"));
        assert_eq!(peers[2].source, "peers file peers.txt line 5");
    }

    #[test]
    fn one_node_may_have_several_cidrs() {
        assert_eq!(parsed("10.244.2.0/24 192.0.2.2\nfd00:2::/64 192.0.2.2").unwrap().len(), 2);
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        for (text, expected) in [
            ("10.244.2.0/24", "peers.txt line 1: the node's address is missing"),
            ("\n10.244.2.0 192.0.2.2", "line 2: '10.244.2.0' is not a CIDR"),
            (
                "10.244.2.7/24 192.0.2.2",
                "line 1: '10.244.2.7/24' is an address within a CIDR: write 10.244.2.0/24",
            ),
            ("10.244.2.0/24 n2", "'n2' is not an IP address"),
            ("10.244.2.0/24 0.0.0.0", "'0.0.0.0' cannot be the address of another node"),
            ("10.244.2.0/24 ff02::1", "'ff02::1' cannot be the address of another node"),
            ("10.244.2.0/24 192.0.2.2 n2", "'n2' is not a MAC address"),
            ("10.244.2.0/24 192.0.2.2 00:00:00:00:00:00", "cannot be the MAC address of a device"),
            ("10.244.2.0/24 192.0.2.2 01:00:5e:00:00:01", "cannot be the MAC address of a device"),
            ("10.244.2.0/24 192.0.2.2 02:00:00:00:00:01 n2 x", "'x' is one field too many"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn overlapping_cidrs_are_named_with_both_lines() {
        let error = parsed("10.244.2.0/24 192.0.2.2\n#\n10.244.0.0/16 192.0.2.3").unwrap_err();
        let expected = "peers.txt line 3: 10.244.0.0/16 overlaps with 10.244.2.0/24 in line 1";
        assert_eq!(error, expected);
        assert!(parsed("10.244.2.0/24 192.0.2.2\n10.244.2.0/24 192.0.2.2").is_err());
    }

    #[test]
    fn a_missing_file_is_an_error_here() {
        let error = read(Path::new("/nonexistent/peers")).unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(error.starts_with("cannot read /nonexistent/peers: No such file"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([0-9a-f:./#]* ?){0,5}\n?\\PC*") {
            let _ = parsed(&text);
        }
    }
}
