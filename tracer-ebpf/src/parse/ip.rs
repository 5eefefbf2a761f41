use tracer_common::{address::Address, counter::ParseError};

use super::{Packet, Stop};

/// TCP's protocol number.
pub(super) const TCP: u8 = 6;
/// UDP's protocol number.
pub(super) const UDP: u8 = 17;
/// SCTP's protocol number.
pub(super) const SCTP: u8 = 132;

/// What the tracer reads of an IP header, of either version. Addresses as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol number of the payload, behind all extension headers.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// A fragment other than the first: it has no transport header.
    pub later_fragment: bool,
    /// Must not be fragmented on its way.
    pub dont_fragment: bool,
    /// Where the payload begins.
    pub payload_at: usize,
}

/// An IP version: how its header is read, and what differs in what follows.
pub trait Version: Address {
    /// EtherType as it lies in memory.
    const ETHERTYPE: u16;
    /// Number of this version's ICMP.
    const ICMP: u8;
    /// The types of an echo and its reply in this version's ICMP.
    const ECHO: [u8; 2];

    /// Where in the header the packet's length stands, and what that does not count.
    const LENGTH: (usize, u32);

    /// Reads the header at `at`.
    ///
    /// # Errors
    /// The kinds of an outer header; [`Stop::Layout`] for options and extension headers.
    fn read<P: Packet>(packet: &P, at: usize) -> Result<Ip<Self>, Stop>;

    /// Whether an address is one host's, of those that the overlay carries.
    fn is_unicast(address: Self) -> bool;

    /// The name of an error when it is the inner packet's.
    fn inside(error: ParseError) -> ParseError;
}
