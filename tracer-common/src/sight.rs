//! Sightings: rare packets that tell by themselves what is wrong, as the programs count them.

use crate::address::Address;

/// Entries for what is seen of the tunnel.
pub const SIGHTS: u32 = 1024;
/// Entries for what pods can bring about by themselves: kept apart, because a port scan fills them.
pub const POD_SIGHTS: u32 = 2048;

/// What was seen. The comments name what a key holds beside the device; whatever differs from one
/// attempt to the next, such as a client's port, is left out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SightKind {
    /// An ICMP error: sender, receiver, source and destination of the quoted packet; type and code;
    /// the quoted protocol and ports; the MTU as number.
    IcmpError = 1,
    /// Another VNI: outer source; the VNI as number.
    OtherVni = 2,
    /// Another of VXLAN's ports: outer source; port; the VNI as number.
    OtherPort = 3,
    /// A header that the device refuses: outer source; the first word as number.
    BadHeader = 4,
    /// A frame for another MAC: inner source; destination and source MAC.
    OtherMac = 5,
    /// The device's own MAC as inner source: outer source.
    OwnMac = 6,
    /// An outer datagram in fragments: outer destination.
    OuterFragment = 7,
    /// A pod's connection that leaves without masquerade: source, destination; port.
    Unmasqueraded = 8,
    /// A connection that was refused: who refuses, who is refused; port.
    Reset = 9,
    /// Who claims an address: the address; the MAC as the first one.
    Claim = 10,
}

/// Kinds of [`SightKind`].
const KINDS: [SightKind; 10] = [
    SightKind::IcmpError,
    SightKind::OtherVni,
    SightKind::OtherPort,
    SightKind::BadHeader,
    SightKind::OtherMac,
    SightKind::OwnMac,
    SightKind::OuterFragment,
    SightKind::Unmasqueraded,
    SightKind::Reset,
    SightKind::Claim,
];

impl SightKind {
    /// The kind with a number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        KINDS.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The name in the contracts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IcmpError => "icmp-error",
            Self::OtherVni => "other-vni",
            Self::OtherPort => "other-port",
            Self::BadHeader => "bad-header",
            Self::OtherMac => "other-mac",
            Self::OwnMac => "own-mac",
            Self::OuterFragment => "outer-fragment",
            Self::Unmasqueraded => "unmasqueraded",
            Self::Reset => "reset",
            Self::Claim => "claim",
        }
    }
}

/// What was seen, and at which device. Addresses and MACs in words as they lie in memory, ports and
/// numbers in the machine's byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SightKey {
    addresses: [[u32; 4]; 4],
    number: u32,
    ifindex: u32,
    macs: [[u16; 3]; 2],
    ports: [u16; 2],
    icmp: [u8; 2],
    kind: u8,
    bits: u8,
    protocol: u8,
    ticket: u8,
    _pad: [u8; 2],
}

const _: () = {
    assert!(size_of::<SightKey>() == 96);
    assert!(align_of::<SightKey>() == 4);
    assert!(core::mem::offset_of!(SightKey, protocol) == 92);
};

impl SightKey {
    /// Something of `kind` at a device, with its first addresses.
    #[inline(always)]
    #[must_use]
    pub fn new<A: Address>(kind: SightKind, ifindex: u32, addresses: [A; 2]) -> Self {
        let [first, second] = addresses;
        Self {
            addresses: [first.widened(), second.widened(), [0; 4], [0; 4]],
            number: 0,
            ifindex,
            macs: [[0; 3]; 2],
            ports: [0; 2],
            icmp: [0; 2],
            kind: kind as u8,
            bits: A::BITS as u8,
            protocol: 0,
            ticket: 0,
            _pad: [0; 2],
        }
    }

    /// With its number: see [`SightKind`].
    #[inline(always)]
    #[must_use]
    pub const fn with_number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// With a port.
    #[inline(always)]
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.ports[1] = port;
        self
    }

    /// With MACs, the second of zeros where there is one.
    #[inline(always)]
    #[must_use]
    pub const fn with_macs(mut self, macs: [[u16; 3]; 2]) -> Self {
        self.macs = macs;
        self
    }

    /// With an ICMP message's type and code, and what it quotes: addresses, protocol and ports.
    #[inline(always)]
    #[must_use]
    pub fn with_quoted<A: Address>(
        mut self,
        icmp: [u8; 2],
        addresses: [A; 2],
        protocol: u8,
        ports: [u16; 2],
    ) -> Self {
        let [source, destination] = addresses;
        self.icmp = icmp;
        self.addresses[2] = source.widened();
        self.addresses[3] = destination.widened();
        self.protocol = protocol;
        self.ports = ports;
        self
    }

    /// Makes it a ticket for one of the first samples of this sight, by a number from 1 on. What
    /// counts packets has none.
    #[inline(always)]
    pub const fn set_ticket(&mut self, number: u8) {
        self.ticket = number;
    }

    /// The number of what it is.
    #[inline(always)]
    #[must_use]
    pub const fn kind_number(&self) -> u8 {
        self.kind
    }

    /// What it is; `None` for what no program writes.
    #[must_use]
    pub fn kind(&self) -> Option<SightKind> {
        SightKind::of(self.kind)
    }

    /// Index of the device.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// An address by its place, 0 to 3.
    #[must_use]
    pub fn address(&self, place: usize) -> core::net::IpAddr {
        let words = self.addresses.get(place).copied().unwrap_or_default();
        if u32::from(self.bits) == <u32 as Address>::BITS {
            words[0].ip().into()
        } else {
            words.ip().into()
        }
    }

    /// A MAC by its place, 0 or 1.
    #[must_use]
    pub fn mac(&self, place: usize) -> [u8; 6] {
        let words = self.macs.get(place).copied().unwrap_or_default();
        let [[a, b], [c, d], [e, f]] = words.map(u16::to_ne_bytes);
        [a, b, c, d, e, f]
    }

    /// Its number: see [`SightKind`].
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Source and destination port; the second where there is one.
    #[must_use]
    pub const fn ports(&self) -> [u16; 2] {
        self.ports
    }

    /// Type and code of an ICMP message.
    #[must_use]
    pub const fn icmp(&self) -> [u8; 2] {
        self.icmp
    }

    /// IP protocol of the quoted packet.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_key_gives_back_what_was_put_in() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let key = SightKey::new(SightKind::IcmpError, 7, [u32::of(a), u32::of(b)])
            .with_number(1400)
            .with_quoted([3, 4], [u32::of(b), u32::of(a)], 17, [0, 8472]);
        assert_eq!((key.kind(), key.ifindex()), (Some(SightKind::IcmpError), 7));
        let addresses = [0, 1, 2, 3].map(|place| key.address(place));
        assert_eq!(addresses, [a, b, b, a].map(IpAddr::from));
        assert_eq!((key.icmp(), key.protocol(), key.ports()), ([3, 4], 17, [0, 8472]));
        assert_eq!(key.number(), 1400);
    }

    #[test]
    fn addresses_are_of_the_version_that_they_were_put_in_as() {
        let ip: Ipv6Addr = "fd00::7".parse().unwrap();
        let key = SightKey::new(SightKind::Claim, 1, [<[u32; 4]>::of(ip), [0; 4]])
            .with_macs([[0x0201, 0x0403, 0x0605].map(u16::from_le), [0; 3]]);
        assert_eq!((key.address(0), key.mac(0)), (ip.into(), [1, 2, 3, 4, 5, 6]));
        assert_eq!(key.mac(1), [0; 6]);
    }

    #[test]
    fn what_no_program_writes_is_of_no_kind() {
        assert_eq!(SightKey::default().kind(), None);
        let kinds = KINDS.map(|kind| SightKey::new(kind, 0, [0_u32; 2]).kind());
        assert_eq!(kinds, KINDS.map(Some));
    }
}
