//! Typed readers of the drop programs' maps. Each counter is read once per CPU and summed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{MapData, PerCpuArray, PerCpuHashMap},
};
use nix::net::if_::if_indextoname;
use tracer_common::{
    drop::{DropKey, DropKindKey, DropTotal, DropValue},
    names,
};

use super::{Symbols, types::KernelTypes};

/// What was dropped since the start. Packets are segments, except that a session without the
/// packets' own headers counts a packet of many segments as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropReading {
    /// By place, most packets first.
    pub places: Vec<DropCount>,
    /// Packets of this namespace at places that found no room.
    pub other: u64,
    /// Bytes of these.
    pub other_bytes: u64,
    /// Packets whose place is counted but whose kind found no room.
    pub other_kinds: u64,
    /// Packets of other network namespaces.
    pub elsewhere: u64,
    /// Packets that name neither a device nor a socket, and so no namespace.
    pub unplaced: u64,
    /// Drops, of any namespace, that the kernel did not hand over, because they came in the middle
    /// of another on the same CPU (Linux 6.1 and newer).
    pub missed: u64,
}

/// What was dropped at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCount {
    /// The kernel's name of the reason, such as `NO_SOCKET`; `None` before Linux 5.17.
    pub reason: Option<String>,
    /// The function that dropped; `None` without CAP_SYSLOG.
    pub symbol: Option<String>,
    /// The address that its call returns to.
    pub location: u64,
    /// Index of the device; `None` when the packet had none.
    pub ifindex: Option<u32>,
    /// Its name in the network namespace of the reader, now; `None` when there is no such device.
    pub device: Option<String>,
    /// Exact, but for [`DropReading::missed`].
    pub packets: u64,
    /// As the kernel held the packets: from the header that it worked on.
    pub bytes: u64,
    /// The packets by kind, as far as kinds found room.
    pub kinds: Vec<(DropKind, u64)>,
}

/// A kind of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropKind {
    /// EtherType; 0 when the kernel had set none yet.
    pub ethertype: u16,
    /// IP protocol number; `None` when the packet's header was not read, or is no IP header.
    pub protocol: Option<u8>,
    /// IP version and protocol number of the packet inside VXLAN, if there is one.
    pub inner: Option<(u8, u8)>,
}

/// Reads all maps but what the kernel counts itself.
pub(super) fn read(ebpf: &Ebpf, types: &KernelTypes, symbols: &mut Symbols) -> Result<DropReading> {
    let map = ebpf.map(names::DROP_TOTALS).context("the object has no totals of drops")?;
    let totals: PerCpuArray<&MapData, u64> = map.try_into()?;
    let total = |total: DropTotal| -> Result<u64> {
        let values = totals.get(&(total as u32), 0).context("reading the totals of drops")?;
        Ok(values.iter().sum())
    };
    let places: BTreeMap<DropKey, DropValue> = sums(ebpf, names::DROPS)?;
    symbols
        .find(places.keys().map(DropKey::location))
        .context("the names of kernel functions (/proc/kallsyms)")?;
    let kinds = sums(ebpf, names::DROP_KINDS)?;
    Ok(DropReading {
        places: counts(&places, &kinds, types, symbols),
        other: total(DropTotal::Other)?,
        other_bytes: total(DropTotal::OtherBytes)?,
        other_kinds: total(DropTotal::OtherKind)?,
        elsewhere: total(DropTotal::Elsewhere)?,
        unplaced: total(DropTotal::Unplaced)?,
        missed: 0,
    })
}

/// A map's values, summed over the CPUs. Nothing is ever removed from it, so the walk ends.
fn sums<K: Pod + Ord>(ebpf: &Ebpf, name: &str) -> Result<BTreeMap<K, DropValue>> {
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    let map: PerCpuHashMap<&MapData, K, DropValue> = map.try_into()?;
    let mut sums = BTreeMap::new();
    for key in map.keys() {
        let key = key.with_context(|| format!("walking the map {name}"))?;
        let values = map.get(&key, 0).with_context(|| format!("reading the map {name}"))?;
        let sum = |of: fn(&DropValue) -> u64| values.iter().map(of).sum();
        sums.insert(key, DropValue::new(sum(DropValue::packets), sum(DropValue::bytes)));
    }
    Ok(sums)
}

fn counts(
    places: &BTreeMap<DropKey, DropValue>,
    kinds: &BTreeMap<DropKindKey, DropValue>,
    types: &KernelTypes,
    symbols: &Symbols,
) -> Vec<DropCount> {
    let count = |(place, value): (&DropKey, &DropValue)| {
        let ifindex = Some(place.ifindex()).filter(|index| *index != 0);
        DropCount {
            reason: types.reason(place.reason()),
            symbol: symbols.name(place.location()).map(str::to_owned),
            location: place.location(),
            ifindex,
            device: ifindex.and_then(device),
            packets: value.packets(),
            bytes: value.bytes(),
            kinds: kinds_at(*place, kinds),
        }
    };
    let mut counts: Vec<DropCount> = places.iter().map(count).collect();
    // Places are in order; a stable sort keeps it among equals.
    counts.sort_by_key(|count| std::cmp::Reverse(count.packets));
    counts
}

fn kinds_at(place: DropKey, kinds: &BTreeMap<DropKindKey, DropValue>) -> Vec<(DropKind, u64)> {
    let here =
        kinds.range(DropKindKey::new(place, 0)..).take_while(|(key, _)| key.place() == place);
    let kind = |(key, value): (&DropKindKey, &DropValue)| {
        let kind =
            DropKind { ethertype: key.ethertype(), protocol: key.protocol(), inner: key.inner() };
        (kind, value.packets())
    };
    here.map(kind).collect()
}

fn device(index: u32) -> Option<String> {
    if_indextoname(index).ok().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_their_own_place() {
        let places = [DropKey::new(1, 2, 3), DropKey::new(1, 2, 4), DropKey::new(2, 2, 3)];
        let key = |place: DropKey, protocol: u8| {
            let mut key = DropKindKey::new(place, 0x0800_u16.to_be());
            key.set_protocol(protocol);
            key
        };
        let kinds = BTreeMap::from([
            (key(places[0], 6), DropValue::new(1, 100)),
            (key(places[1], 6), DropValue::new(2, 200)),
            (key(places[1], 17), DropValue::new(3, 300)),
            (DropKindKey::new(places[2], 0), DropValue::new(4, 400)),
        ]);
        let found = |place| -> Vec<(Option<u8>, u64)> {
            let kinds = kinds_at(place, &kinds);
            kinds.iter().map(|(kind, packets)| (kind.protocol, *packets)).collect()
        };
        assert_eq!(found(places[0]), [(Some(6), 1)]);
        assert_eq!(found(places[1]), [(Some(6), 2), (Some(17), 3)]);
        assert_eq!(found(places[2]), [(None, 4)]);
        assert_eq!(found(DropKey::new(9, 9, 9)), []);
    }
}
