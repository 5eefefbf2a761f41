//! What the programs have counted of VIPs, summed over the CPUs.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap as Map},
    net::IpAddr,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray},
};
use tracer_common::{
    names,
    vip::{self, ANNOUNCED, Announced, MACS, OUT, Owner, VipAddress, VipCounts},
};

use super::super::clock::monotonic_nanoseconds;
use crate::evidence::MacAddress;

/// Everything at one moment. Times are the kernel's monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VipTable {
    /// When it was read.
    pub now: u64,
    /// By VIP, in the order in which they were told.
    pub vips: Vec<VipReading>,
    /// What was announced since the last reading and is no VIP yet.
    pub announced: Vec<AnnouncedReading>,
    /// Announcements since the start that found no entry.
    pub unannounced: u64,
    /// VIPs that found no room.
    pub without_room: u64,
}

/// What was counted of a VIP. Arrays of two are by direction: in, out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipReading {
    /// The VIP.
    pub address: IpAddr,
    /// Who asks for it.
    pub requests: [u64; 2],
    /// Answers.
    pub replies: [u64; 2],
    /// What was said unasked.
    pub gratuitous: [u64; 2],
    /// Requests of clients that are not told apart.
    pub other_requests: u64,
    /// Who claims it, in the order in which they were first seen; at most [`MACS`], and what others
    /// said is in the sums alone.
    pub announcers: Vec<AnnouncerReading>,
    /// Who asks for it, most requests first.
    pub clients: Vec<ClientReading>,
    /// Who claimed it last.
    pub owner: Owner,
}

/// A MAC that claims a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncerReading {
    /// The MAC.
    pub mac: MacAddress,
    /// Its answers.
    pub replies: [u64; 2],
    /// What it said unasked.
    pub gratuitous: [u64; 2],
    /// When it was seen first.
    pub first: u64,
    /// When it was seen last.
    pub last: u64,
}

/// A client that asks for a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientReading {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: MacAddress,
    /// How often it asked.
    pub requests: u64,
    /// When it asked last, the latest first; four at least where there were as many.
    pub times: Vec<u64>,
}

/// An address that was announced and is no VIP yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedReading {
    /// The address.
    pub address: IpAddr,
    /// Whose it is said to be.
    pub mac: MacAddress,
    /// Index of the device.
    pub ifindex: u32,
    /// Whether this node said so.
    pub is_own: bool,
}

/// Reads everything, and takes out what was announced.
pub(super) fn read(
    ebpf: &mut Ebpf,
    vips: &[Option<IpAddr>],
    without_room: u64,
) -> anyhow::Result<VipTable> {
    let announced = take_announced(ebpf)?;
    let counts: PerCpuArray<&MapData, VipCounts> = map(ebpf, names::VIP_COUNTS)?.try_into()?;
    let owners: Array<&MapData, Owner> = map(ebpf, names::VIP_OWNERS)?.try_into()?;
    let lost: PerCpuArray<&MapData, u64> = map(ebpf, names::VIP_UNANNOUNCED)?.try_into()?;
    let read_one = |(number, address): (u32, IpAddr)| -> anyhow::Result<VipReading> {
        let owner = owners.get(&number, 0).context("reading the owner of a VIP")?;
        let counts = counts.get(&number, 0).context("reading the counts of a VIP")?;
        Ok(VipReading::sum(address, &counts, owner))
    };
    let taken = (0..).zip(vips).filter_map(|(number, vip)| Some((number, (*vip)?)));
    let vips = taken.map(read_one).collect::<Result<_, _>>()?;
    let unannounced = lost.get(&0, 0).context("reading what was not told")?.iter().sum();
    // Last: no time in the maps is later.
    let now = monotonic_nanoseconds()?;
    Ok(VipTable { now, vips, announced, unannounced, without_room })
}

// === impl VipReading ===

impl VipReading {
    /// When anybody asked for it or claimed it last; 0 for never.
    #[must_use]
    pub fn heard(&self) -> u64 {
        let asked = self.clients.iter().flat_map(|client| &client.times).copied();
        asked.chain([self.owner.last]).max().unwrap_or_default()
    }

    /// One VIP's counts of all CPUs.
    fn sum(address: IpAddr, counts: &[VipCounts], owner: Owner) -> Self {
        let sum = |of: &dyn Fn(&VipCounts) -> [u64; 2]| {
            counts.iter().map(of).fold([0; 2], |[a, b], [c, d]| [a + c, b + d])
        };
        Self {
            address,
            requests: sum(&VipCounts::requests),
            replies: sum(&VipCounts::replies),
            gratuitous: sum(&VipCounts::gratuitous),
            other_requests: counts.iter().map(VipCounts::other_requests).sum(),
            announcers: announcers(counts),
            clients: clients(counts),
            owner,
        }
    }
}

fn announcers(counts: &[VipCounts]) -> Vec<AnnouncerReading> {
    let mut by_mac = BTreeMap::<u64, AnnouncerReading>::new();
    for it in counts.iter().flat_map(VipCounts::announcers) {
        let (first, last) = it.seen();
        let sum = by_mac.entry(it.mac()).or_insert_with(|| AnnouncerReading {
            mac: MacAddress(vip::mac(it.mac())),
            replies: [0; 2],
            gratuitous: [0; 2],
            first,
            last,
        });
        (0..=OUT).for_each(|at| sum.replies[at] += it.replies()[at]);
        (0..=OUT).for_each(|at| sum.gratuitous[at] += it.gratuitous()[at]);
        (sum.first, sum.last) = (sum.first.min(first), sum.last.max(last));
    }
    let mut announcers: Vec<AnnouncerReading> = by_mac.into_values().collect();
    announcers.sort_by_key(|it| it.first);
    announcers.truncate(MACS);
    announcers
}

fn clients(counts: &[VipCounts]) -> Vec<ClientReading> {
    let mut by_address = Map::<VipAddress, ClientReading>::new();
    for it in counts.iter().flat_map(VipCounts::clients) {
        let sum = by_address.entry(it.address()).or_insert_with(|| ClientReading {
            address: vip::ip(it.address()),
            mac: MacAddress(vip::mac(it.mac())),
            requests: 0,
            times: Vec::new(),
        });
        sum.requests += it.requests();
        sum.times.extend(it.times().into_iter().filter(|time| *time != 0));
    }
    let mut clients: Vec<ClientReading> = by_address.into_values().collect();
    clients.iter_mut().for_each(|it| it.times.sort_unstable_by_key(|time| Reverse(*time)));
    clients.sort_by_key(|it| (Reverse(it.requests), it.address));
    clients
}

fn take_announced(ebpf: &mut Ebpf) -> anyhow::Result<Vec<AnnouncedReading>> {
    let map = ebpf.map_mut(names::VIP_ANNOUNCED).context("the object has no such map")?;
    let mut map: HashMap<&mut MapData, VipAddress, Announced> = map.try_into()?;
    let keys: Vec<VipAddress> =
        map.keys().take(ANNOUNCED as usize).filter_map(Result::ok).collect();
    let mut announced = Vec::new();
    for key in keys {
        match map.get(&key, 0) {
            Ok(it) => announced.push(AnnouncedReading {
                address: vip::ip(key),
                mac: MacAddress(vip::mac(it.mac)),
                ifindex: it.ifindex,
                is_own: it.direction == OUT as u32,
            }),
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error).context("reading what was announced"),
        }
        map.remove(&key).context("taking out what was announced")?;
    }
    announced.sort_by_key(|it| it.address);
    Ok(announced)
}

fn map<'a>(ebpf: &'a Ebpf, name: &str) -> anyhow::Result<&'a aya::maps::Map> {
    ebpf.map(name).with_context(|| format!("the object has no map {name}"))
}

#[cfg(test)]
mod tests {
    use tracer_common::vip::{IN, key};

    use super::*;

    #[test]
    fn what_cpus_have_seen_is_one_client_and_one_mac() {
        let client = key("192.0.2.9".parse().unwrap());
        let mut counts = [VipCounts::NONE; 2];
        for (cpu, time) in [(0, 10), (1, 20), (1, 30), (0, 40)] {
            counts[cpu].request(IN, client, 0x10, time);
            counts[cpu].claim(OUT, 0x20, true, time + 1);
        }
        let vip = VipReading::sum("192.0.2.1".parse().unwrap(), &counts, Owner::default());
        assert_eq!((vip.requests, vip.gratuitous), ([4, 0], [0, 4]));
        assert_eq!(vip.clients.len(), 1);
        assert_eq!(
            (vip.clients[0].requests, vip.clients[0].times.as_slice()),
            (4, &[40, 30, 20, 10][..])
        );
        assert_eq!(vip.announcers.len(), 1);
        let mac = &vip.announcers[0];
        assert_eq!((mac.gratuitous, mac.first, mac.last), ([0, 4], 11, 41));
    }

    #[test]
    fn each_cpus_macs_together_are_no_more_than_one_has() {
        let mut counts = [VipCounts::NONE; 4];
        for mac in 1..=40 {
            counts[mac as usize % 4].claim(IN, mac, false, mac);
        }
        let vip = VipReading::sum("192.0.2.1".parse().unwrap(), &counts, Owner::default());
        assert_eq!((vip.announcers.len(), vip.replies), (MACS, [40, 0]));
        let firsts: Vec<u64> = vip.announcers.iter().map(|it| it.first).collect();
        assert_eq!(firsts, (1..=8).collect::<Vec<u64>>());
    }
}
