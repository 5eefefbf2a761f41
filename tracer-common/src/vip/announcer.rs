//! Who says that a VIP is its own.

use super::IN;

/// One MAC, as one CPU has seen it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcer {
    mac: u64,
    replies: [u64; 2],
    gratuitous: [u64; 2],
    first: u64,
    last: u64,
}

/// Who said last that a VIP is its own, and who did before: one for all CPUs. Two that claim the VIP
/// within nanoseconds on two CPUs may be taken for one change where there were two; no sum is made of
/// it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// See [`super::mac_number`]; 0 when nobody has claimed it.
    pub mac: u64,
    /// When it claimed it for the first time after another.
    pub since: u64,
    /// When it claimed it last.
    pub last: u64,
    /// When anybody said unasked that it is theirs.
    pub gratuitous: u64,
    /// The owner before; 0 when there was none.
    pub former: u64,
    /// When that one claimed it last.
    pub former_last: u64,
    /// Changes from one owner to another.
    pub changes: u64,
}

const _: () = {
    assert!(size_of::<Announcer>() == 56);
    assert!(size_of::<Owner>() == 56);
};

impl Announcer {
    /// A free place.
    pub const NONE: Self = Self { mac: 0, replies: [0; 2], gratuitous: [0; 2], first: 0, last: 0 };

    #[inline(always)]
    pub(super) const fn takes(&self, mac: u64) -> bool {
        self.mac == mac || self.mac == 0
    }

    #[inline(always)]
    pub(super) fn claim(&mut self, direction: usize, mac: u64, is_gratuitous: bool, now: u64) {
        if self.mac == 0 {
            self.first = now;
        }
        self.mac = mac;
        self.last = now;
        self.gratuitous[direction & 1] += u64::from(is_gratuitous);
        self.replies[direction & 1] += u64::from(!is_gratuitous);
    }

    /// See [`super::mac_number`].
    #[must_use]
    pub const fn mac(&self) -> u64 {
        self.mac
    }

    /// Its replies, by direction.
    #[must_use]
    pub const fn replies(&self) -> [u64; 2] {
        self.replies
    }

    /// What it said unasked, by direction.
    #[must_use]
    pub const fn gratuitous(&self) -> [u64; 2] {
        self.gratuitous
    }

    /// When it was seen first and last.
    #[must_use]
    pub const fn seen(&self) -> (u64, u64) {
        (self.first, self.last)
    }
}

impl Owner {
    /// Takes over that `mac` claims the VIP.
    #[inline(always)]
    pub const fn claim(&mut self, mac: u64, is_gratuitous: bool, now: u64) {
        if self.mac != mac {
            if self.mac != 0 {
                self.former = self.mac;
                self.former_last = self.last;
                self.changes += 1;
            }
            self.mac = mac;
            self.since = now;
        }
        self.last = now;
        if is_gratuitous {
            self.gratuitous = now;
        }
    }

    /// For how long nobody claimed it before the owner of now did, in nanoseconds.
    #[must_use]
    pub const fn gap(&self) -> Option<u64> {
        if self.former == 0 { None } else { Some(self.since.saturating_sub(self.former_last)) }
    }
}

// The directions are indices of arrays of two.
const _: () = assert!(IN & 1 == 0 && super::OUT & 1 == 1);
