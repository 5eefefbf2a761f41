use tracer_common::{address::Address, counter::ParseError};

use super::{Packet, Stop};

/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// SCTP's protocol number.
pub const SCTP: u8 = 132;

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
    /// May be a first fragment, which more follow: over IPv4 it is one; over IPv6 only one whose
    /// headers may be anywhere can be.
    pub maybe_first_fragment: bool,
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

    /// Whether a message of this version's ICMP is an error that quotes the packet which did not
    /// arrive, or not whole: destination unreachable, packet too big, time exceeded.
    fn is_error(icmp_type: u8) -> bool;

    /// Where in the header the packet's length stands, and what that does not count.
    const LENGTH: (usize, u32);

    /// Reads the header at `at`.
    ///
    /// # Errors
    /// The kinds of an outer header; [`Stop::Layout`] for options and extension headers.
    fn read<P: Packet>(packet: &P, at: usize) -> Result<Ip<Self>, Stop>;

    /// Whether the packet whose header is at `at` is a first fragment; `None` when it ends before.
    fn is_first_fragment<P: Packet>(packet: &P, at: usize) -> Option<bool>;

    /// Whether an address is one host's, of those that the overlay carries.
    fn is_unicast(address: Self) -> bool;

    /// The name of an error when it is the inner packet's.
    fn inside(error: ParseError) -> ParseError;
}
