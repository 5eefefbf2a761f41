//! Neighbour entries, and the forwarding databases of VXLAN devices, which travel in the same
//! message with another family.

use std::net::IpAddr;

use netlink_packet_core::{Emitable, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage,
    },
};

use super::attributes::Skipped;
use crate::evidence::{FdbEntry, MacAddress, Neighbour, NeighbourState};

/// Ticks of NDA_CACHEINFO in a second: USER_HZ, 100 on every architecture that flannel runs on
/// (include/asm-generic/param.h, 6.18).
const TICKS_PER_SECOND: f64 = 100.0;

const NUD_PERMANENT: u16 = 0x80;

/// Asks for all entries of one family; AF_UNSPEC for ARP and ND, AF_BRIDGE for the FDB.
pub(super) fn request(family: AddressFamily) -> NeighbourMessage {
    let mut request = NeighbourMessage::default();
    request.header.family = family;
    request
}

/// A neighbour entry from the body of an RTM_NEWNEIGH.
pub(super) fn decode(body: &[u8], skipped: &mut Skipped) -> Option<Neighbour> {
    let header = NeighbourHeader::parse(body).ok()?;
    let found = Found::read(&header, body, skipped)?;
    Some(Neighbour {
        ifindex: header.ifindex,
        address: found.destination?,
        mac: found.mac,
        state: state(header.state.into()),
        updated_age: found.updated_age,
        confirmed_age: found.confirmed_age,
    })
}

/// Whether the body of an RTM_NEWNEIGH is an entry of a device's own FDB (NTF_SELF), not of the
/// bridge it is a port of, and of which device.
pub(super) fn own_fdb_device(body: &[u8]) -> Option<u32> {
    let header = NeighbourHeader::parse(body).ok()?;
    header.flags.contains(NeighbourFlags::Own).then_some(header.ifindex)
}

/// Whether the body of an RTM_NEWNEIGH is an address that this node answers for in the name of
/// another (NTF_PROXY): notified, but no neighbour and in no dump of them.
pub(super) fn is_proxy(body: &[u8]) -> bool {
    NeighbourHeader::parse(body).is_ok_and(|it| it.flags.contains(NeighbourFlags::Proxy))
}

/// An FDB entry from the body of an RTM_NEWNEIGH. A MAC with several remotes makes several.
pub(super) fn decode_fdb(body: &[u8], skipped: &mut Skipped) -> Option<FdbEntry> {
    let header = NeighbourHeader::parse(body).ok()?;
    let found = Found::read(&header, body, skipped)?;
    Some(FdbEntry {
        ifindex: header.ifindex,
        mac: found.mac?,
        destination: found.destination,
        permanent: u16::from(header.state) & NUD_PERMANENT != 0,
        updated_age: found.updated_age,
    })
}

/// The attributes that both kinds use.
#[derive(Default)]
struct Found {
    destination: Option<IpAddr>,
    mac: Option<MacAddress>,
    updated_age: Option<f64>,
    confirmed_age: Option<f64>,
}

impl Found {
    fn read(header: &NeighbourHeader, body: &[u8], skipped: &mut Skipped) -> Option<Self> {
        let mut found = Self::default();
        let attributes = body.get(header.buffer_len()..)?;
        for attribute in skipped.attributes(attributes, |attribute| {
            NeighbourAttribute::parse_with_param(attribute, header.family)
        }) {
            match attribute {
                NeighbourAttribute::Destination(address) => found.destination = ip(&address),
                NeighbourAttribute::LinkLayerAddress(mac) => {
                    found.mac = mac.try_into().ok().map(MacAddress);
                }
                NeighbourAttribute::CacheInfo(info) => {
                    found.updated_age = Some(f64::from(info.updated) / TICKS_PER_SECOND);
                    found.confirmed_age = Some(f64::from(info.confirmed) / TICKS_PER_SECOND);
                }
                _ => {}
            }
        }
        Some(found)
    }
}

/// NDA_DST; in the FDB its length alone tells the family.
fn ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some(IpAddr::V4(*address)),
        NeighbourAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
            16 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
            _ => None,
        },
        _ => None,
    }
}

/// NUD_* (include/uapi/linux/neighbour.h): one bit each.
const fn state(bits: u16) -> NeighbourState {
    match bits {
        0x01 => NeighbourState::Incomplete,
        0x02 => NeighbourState::Reachable,
        0x04 => NeighbourState::Stale,
        0x08 => NeighbourState::Delay,
        0x10 => NeighbourState::Probe,
        0x20 => NeighbourState::Failed,
        0x40 => NeighbourState::NoArp,
        NUD_PERMANENT => NeighbourState::Permanent,
        _ => NeighbourState::None,
    }
}
