//! The places of VIPs in the programs' tables: who has one, and who gets it next.

use std::net::IpAddr;

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use tracer_common::{
    names,
    vip::{self, Owner, VipAddress, VipCounts},
};

use super::VipSession;
use crate::kernel::session::possible_cpus;

// === impl VipSession ===

impl VipSession {
    /// Gives a place to each of these as far as there is room, and takes it from all others.
    pub(super) fn follow(&mut self, planned: &[IpAddr]) -> anyhow::Result<()> {
        for number in 0..self.vips.len() {
            if let Some(vip) = self.vips[number].filter(|vip| !planned.contains(vip)) {
                self.vips[number] = None;
                self.forget(vip)?;
            }
        }
        self.without_room = 0;
        for vip in planned {
            if !self.vips.contains(&Some(*vip)) {
                self.add(*vip)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, vip: IpAddr) -> anyhow::Result<()> {
        let Some(number) = free_place(&self.vips, self.room) else {
            self.without_room += 1;
            return Ok(());
        };
        self.clear(number)?;
        self.tell(number, vip)?;
        if number == self.vips.len() {
            self.vips.push(None);
        }
        self.vips[number] = Some(vip);
        Ok(())
    }

    /// Tells the programs where a VIP is counted.
    fn tell(&mut self, number: usize, vip: IpAddr) -> anyhow::Result<()> {
        let key = vip::key(vip);
        self.numbers()?.insert(key, number as u32, 0).context("telling the programs of a VIP")?;
        self.hints()?.set(vip::hint(&key), 1, 0).context("telling the programs of a VIP")
    }

    /// Has the programs count a VIP no more. Its hint stays where another has the same.
    fn forget(&mut self, vip: IpAddr) -> anyhow::Result<()> {
        let key = vip::key(vip);
        self.numbers()?.remove(&key).context("taking a VIP from the programs")?;
        let mut others = self.vips.iter().flatten().map(|it| vip::hint(&vip::key(*it)));
        if others.any(|hint| hint == vip::hint(&key)) {
            return Ok(());
        }
        self.hints()?.set(vip::hint(&key), 0, 0).context("taking a VIP from the programs")
    }

    /// Begins to count from nothing. What the programs still counted of the VIP that was there before
    /// goes with it.
    fn clear(&mut self, number: usize) -> anyhow::Result<()> {
        let number = number as u32;
        let nothing = vec![VipCounts::NONE; possible_cpus() as usize];
        let nothing = PerCpuValues::try_from(nothing).context("clearing the counts of a VIP")?;
        let mut counts: PerCpuArray<&mut MapData, VipCounts> =
            self.map_mut(names::VIP_COUNTS)?.try_into()?;
        counts.set(number, nothing, 0).context("clearing the counts of a VIP")?;
        let mut owners: Array<&mut MapData, Owner> = self.map_mut(names::VIP_OWNERS)?.try_into()?;
        owners.set(number, Owner::default(), 0).context("clearing the owner of a VIP")
    }

    fn numbers(&mut self) -> anyhow::Result<HashMap<&mut MapData, VipAddress, u32>> {
        Ok(self.map_mut(names::VIPS)?.try_into()?)
    }

    fn hints(&mut self) -> anyhow::Result<Array<&mut MapData, u32>> {
        Ok(self.map_mut(names::VIP_HINTS)?.try_into()?)
    }

    fn map_mut(&mut self, name: &str) -> anyhow::Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))
    }
}

/// The first place that nobody has, if there is one.
fn free_place(places: &[Option<IpAddr>], room: usize) -> Option<usize> {
    let free = places.iter().position(Option::is_none);
    free.or_else(|| (places.len() < room).then_some(places.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_given_up_goes_to_the_next() {
        let vip = Some([192, 0, 2, 1].into());
        assert_eq!(free_place(&[], 2), Some(0));
        assert_eq!(free_place(&[vip], 2), Some(1));
        assert_eq!(free_place(&[vip, vip], 2), None);
        assert_eq!(free_place(&[None, vip], 2), Some(0));
    }
}
