//! The programs that pair DNS, and what they have counted.

mod slots;

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuHashMap},
};
use tracer_common::{
    dns::{COUNTS, DnsCount, DnsKey, DnsKind, DnsSlot},
    names,
};

use self::slots::Slots;
use super::{clock::monotonic_nanoseconds, tail_calls};

/// What became of DNS queries since the programs were loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsReading {
    /// What was counted, summed over the CPUs.
    pub counts: BTreeMap<DnsKey, DnsCount>,
    /// Queries that have waited for longer than the timeout, and were not counted as such yet.
    pub overdue: Vec<Overdue>,
}

/// A query that waits for an answer in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Who asks, and from which port.
    pub client: (IpAddr, u16),
    /// What will count it.
    pub key: DnsKey,
}

/// Loads the programs that pair DNS and tells the stages' programs of them; those of uplinks without
/// an Ethernet header only where there are such.
///
/// # Errors
/// When one of them cannot be loaded: then none of them is used.
pub(super) fn load(ebpf: &mut Ebpf, has_layer3: bool) -> Result<()> {
    let map = ebpf.map_mut(names::DNS_COUNTS).context("the object has no counts of DNS")?;
    let mut counts: PerCpuHashMap<_, DnsKey, DnsCount> = map.try_into()?;
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    for key in DnsKey::all_others() {
        let zeros = vec![DnsCount::default(); cpus].try_into()?;
        counts.insert(key, zeros, 0).context("making room for other DNS servers")?;
    }
    tail_calls::load(ebpf, &names::PAIRS, names::DNS_PAIRS, has_layer3)
}

/// What has been counted, and who waits for longer than `timeout` nanoseconds. The counts are read
/// first: what they count meanwhile is no longer overdue.
///
/// # Errors
/// When a map is missing or cannot be read.
pub(super) fn read(ebpf: &Ebpf, timeout: u64, hooked_at: u64) -> Result<DnsReading> {
    let map = ebpf.map(names::DNS_COUNTS).context("the object has no counts of DNS")?;
    let map: PerCpuHashMap<&MapData, DnsKey, DnsCount> = map.try_into()?;
    let mut counts = BTreeMap::new();
    // Queries last: so no query is gone in what is read that has not come.
    for reads_queries in [false, true] {
        for key in map.keys().take(COUNTS as usize) {
            let key = key.context("walking the counts of DNS")?;
            if (key.kind() == Some(DnsKind::Query)) != reads_queries {
                continue;
            }
            let values = map.get(&key, 0).context("reading the counts of DNS")?;
            let mut sum = DnsCount::default();
            for value in values.iter() {
                sum.times += value.times;
                sum.nanoseconds += value.nanoseconds;
            }
            if sum.times > 0 {
                counts.insert(key, sum);
            }
        }
    }
    // Most of the time nobody waits, and then a megabyte of slots need not be read.
    let overdue =
        if open(&counts) > 0 { read_overdue(ebpf, timeout, hooked_at)? } else { Vec::new() };
    Ok(DnsReading { counts, overdue })
}

/// Queries that have neither been answered nor given up.
fn open(counts: &BTreeMap<DnsKey, DnsCount>) -> u64 {
    let sum = |kind: DnsKind| -> u64 {
        counts.iter().filter(|it| it.0.kind() == Some(kind)).map(|it| it.1.times).sum()
    };
    let gone = [DnsKind::Answer, DnsKind::Timeout, DnsKind::Overwritten].map(sum);
    sum(DnsKind::Query).saturating_sub(gone.into_iter().sum())
}

fn read_overdue(ebpf: &Ebpf, timeout: u64, hooked_at: u64) -> Result<Vec<Overdue>> {
    let slots = Slots::of(ebpf)?;
    let now = monotonic_nanoseconds()?;
    let hooked = now.saturating_sub(hooked_at);
    let is_overdue = |slot: &DnsSlot| slot.is_open() && slot.age(now) > timeout;
    let overdue = slots.iter().filter(is_overdue).map(|slot| {
        // Where its answer went by while it was waited for there may have been no program yet.
        let may_be_unseen = (hooked..hooked.saturating_add(timeout)).contains(&slot.age(now));
        let key = if may_be_unseen { slot.lost_sight() } else { slot.timed_out() };
        Overdue { client: slot.client(), key }
    });
    Ok(overdue.collect())
}
