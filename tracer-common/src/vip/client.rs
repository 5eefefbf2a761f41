//! Who asks for a VIP.

use super::VipAddress;

/// The last times that are remembered of a client.
const TIMES: usize = 4;
/// A client that has not asked for so long gives its place to another, in nanoseconds: the kernel's
/// own asks again within seconds while nobody answers.
const IDLE: u64 = 30_000_000_000;

/// One client, as one CPU has seen it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    address: VipAddress,
    mac: u64,
    requests: u64,
    times: [u64; TIMES],
}

const _: () = assert!(size_of::<Client>() == 64);

impl Client {
    /// A free place.
    pub const NONE: Self = Self { address: [0; 4], mac: 0, requests: 0, times: [0; TIMES] };

    #[inline(always)]
    pub(super) fn takes(&self, address: &VipAddress) -> bool {
        self.requests == 0 || self.address == *address
    }

    #[inline(always)]
    pub(super) const fn is_idle(&self, now: u64) -> bool {
        now.wrapping_sub(self.times[0]) > IDLE
    }

    #[inline(always)]
    pub(super) const fn ask(&mut self, address: VipAddress, mac: u64, now: u64) {
        self.address = address;
        self.mac = mac;
        self.requests += 1;
        let [first, second, third, _] = self.times;
        self.times = [now, first, second, third];
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> VipAddress {
        self.address
    }

    /// See [`super::mac_number`].
    #[must_use]
    pub const fn mac(&self) -> u64 {
        self.mac
    }

    /// How often it has asked.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// When it asked last, the latest first; 0 for what was not.
    #[must_use]
    pub const fn times(&self) -> [u64; TIMES] {
        self.times
    }
}
