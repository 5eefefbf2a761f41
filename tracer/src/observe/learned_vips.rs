//! VIPs that nodes of the cluster have announced: as long as they are heard of.

use std::net::IpAddr;

use tracer_common::vip::VIPS;

use crate::kernel::VipTable;

/// A VIP that nobody has asked for or claimed for so long gives its place up, in nanoseconds. Who has
/// the MAC asks again within minutes.
const SILENCE: u64 = 3_600_000_000_000;

/// What was learned. Times are those of [`VipTable`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LearnedVips {
    entries: Vec<Learned>,
    now: u64,
    forgotten: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Learned {
    address: IpAddr,
    heard: u64,
}

// === impl LearnedVips ===

impl LearnedVips {
    /// Takes over when each was heard of last.
    pub fn hear(&mut self, table: &VipTable) {
        self.now = table.now;
        for entry in &mut self.entries {
            let reading = table.vips.iter().find(|it| it.address == entry.address);
            entry.heard = entry.heard.max(reading.map_or(0, |it| it.heard()));
        }
    }

    /// Adds one that was announced. Where as many are known as can be counted, that of which nothing
    /// was heard for the longest time gives its place up.
    pub fn add(&mut self, address: IpAddr) {
        if self.entries.iter().any(|it| it.address == address) {
            return;
        }
        if self.entries.len() >= VIPS as usize {
            let oldest = (0..self.entries.len()).min_by_key(|index| self.entries[*index].heard);
            oldest.map(|index| self.entries.swap_remove(index));
            self.forgotten += 1;
        }
        self.entries.push(Learned { address, heard: self.now });
    }

    /// Forgets those that were not heard of for long.
    pub fn age(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|it| self.now.saturating_sub(it.heard) <= SILENCE);
        self.forgotten += (before - self.entries.len()) as u64;
    }

    /// The VIPs.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.entries.iter().map(|it| it.address).collect()
    }

    /// How many were forgotten so far.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::vip::Owner;

    use super::*;
    use crate::kernel::{ClientReading, VipReading};

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0xc000_0200 + number).into())
    }

    fn reading(address: IpAddr, claimed: u64, asked: &[u64]) -> VipReading {
        let client = |time: &u64| ClientReading {
            address: [192, 0, 2, 9].into(),
            mac: crate::evidence::MacAddress([2, 0, 0, 0, 0, 9]),
            requests: 1,
            times: vec![*time],
        };
        VipReading {
            address,
            requests: [0; 2],
            replies: [0; 2],
            gratuitous: [0; 2],
            other_requests: 0,
            announcers: Vec::new(),
            clients: asked.iter().map(client).collect(),
            owner: Owner { last: claimed, ..Owner::default() },
        }
    }

    fn hear(learned: &mut LearnedVips, now: u64, vips: Vec<VipReading>) {
        learned.hear(&VipTable { now, vips, ..VipTable::default() });
        learned.age();
    }

    #[test]
    fn a_vip_that_is_not_heard_of_for_an_hour_gives_its_place_up_and_is_counted() {
        let [silent, claimed, asked_for] = [1, 2, 3].map(address);
        let mut learned = LearnedVips::default();
        hear(&mut learned, 10, Vec::new());
        [silent, claimed, asked_for].into_iter().for_each(|it| learned.add(it));
        let readings = || {
            vec![
                reading(silent, 0, &[]),
                reading(claimed, SILENCE, &[]),
                reading(asked_for, 0, &[5, SILENCE]),
            ]
        };
        hear(&mut learned, 10 + SILENCE, readings());
        assert_eq!((learned.addresses().len(), learned.forgotten()), (3, 0));
        hear(&mut learned, 11 + SILENCE, readings());
        assert_eq!(learned.addresses(), [claimed, asked_for]);
        assert_eq!(learned.forgotten(), 1);
        hear(&mut learned, 1 + 2 * SILENCE, readings());
        assert_eq!((learned.addresses(), learned.forgotten()), (vec![], 3));
    }

    #[test]
    fn a_flood_of_announcements_takes_no_more_than_there_is() {
        let mut learned = LearnedVips::default();
        learned.add(address(0));
        for number in 1..1000 {
            hear(&mut learned, u64::from(number), vec![reading(address(0), number.into(), &[])]);
            learned.add(address(number));
        }
        assert_eq!(learned.addresses().len(), VIPS as usize);
        assert!(learned.addresses().contains(&address(0)), "it is heard of all the time");
        assert_eq!(learned.forgotten(), 1000 - u64::from(VIPS));
    }
}
