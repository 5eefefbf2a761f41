//! Typed readers of the maps. Each counter is read once per CPU and summed.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray, PerCpuHashMap},
};
use tracer_common::{
    address::Address,
    counter::{Counter, PARSE_ERROR_ENTRIES},
    flow::{FLOWS, FlowKey, FlowValue},
    names,
    peer::{FIRST_PEER, PeerValue},
    stage::{FLOW_COUNTS, PEER_COUNTS, SIZED_COUNTS},
};

use super::{
    clock::monotonic_nanoseconds,
    samples::{self, SampleReading},
    sights::{self, SightCount},
};
use crate::evidence::Hook;

/// Exact totals at one moment. A stage's total is the sum over all slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The slots that are no peer's, then one slot a peer in the plan's order.
    pub slots: Vec<SlotReading>,
    /// By [`tracer_common::counter::parse_error_index`].
    pub parse_errors: Vec<u64>,
    /// See [`Counter::FlowInserts`].
    pub flow_inserts: u64,
    /// See [`Counter::FlowInsertFailures`].
    pub flow_insert_failures: u64,
    /// See [`Counter::SlowParse`].
    pub slow_parse: u64,
    /// See [`Counter::OtherSights`].
    pub other_sights: u64,
    /// See [`Counter::OtherDns`].
    pub other_dns: u64,
    /// What was sampled, by index of [`tracer_common::stage`].
    pub samples: Vec<SampleReading>,
    /// What rare packets have shown.
    pub sights: Vec<SightCount>,
}

/// One slot's counters by index of [`tracer_common::stage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotReading {
    /// Segments.
    pub packets: [u64; PEER_COUNTS],
    /// Bytes.
    pub bytes: [u64; SIZED_COUNTS],
    /// The inner Ethernet source of what was received from the peer of this slot, since the programs
    /// were loaded; `None` when CPUs last saw different ones.
    pub vtep_mac: Option<[u8; 6]>,
    /// The outer Ethernet source of what came from it within the last seconds
    /// ([`tracer_common::peer::OUTER_MAC_SECONDS`]), in the same words.
    pub outer_mac: Option<[u8; 6]>,
}

/// One flow's counters, summed over the CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowReading {
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port, or type and code of an ICMP message.
    pub source_port: u16,
    /// Destination port, or identifier of an ICMP echo.
    pub destination_port: u16,
    /// Segments by index of [`tracer_common::stage`]; wrap at 2^32 on each CPU.
    pub packets: [u64; FLOW_COUNTS],
    /// Differs between two lives of one flow.
    pub birth: u32,
    /// The other tunnel end.
    pub outer_remote: Option<IpAddr>,
}

/// Addresses, protocol and ports of a flow, as stages name it. Of ICMP type and code stand in the
/// source port, the identifier of an echo in the destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct FlowName {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
}

impl FlowReading {
    /// Which flow this is.
    #[must_use]
    pub const fn name(&self) -> FlowName {
        FlowName {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            source_port: self.source_port,
            destination_port: self.destination_port,
        }
    }
}

/// Reads the exact totals of `peers` peers, and what was seen at devices that have `hooks`.
///
/// # Errors
/// When a map of the object is missing or cannot be read.
pub(super) fn read(ebpf: &Ebpf, peers: usize, hooks: &[Hook]) -> Result<Reading> {
    let slots: PerCpuArray<&MapData, PeerValue> = array(ebpf, names::PEERS)?;
    let counters: PerCpuArray<&MapData, u64> = array(ebpf, names::COUNTERS)?;
    let errors: PerCpuArray<&MapData, u64> = array(ebpf, names::PARSE_ERRORS)?;
    let counter = |counter: Counter| sum(&counters, counter as u32);
    let now = monotonic_nanoseconds()?;
    Ok(Reading {
        slots: (0..FIRST_PEER + peers as u32)
            .map(|slot| read_slot(&slots, slot, now))
            .collect::<Result<_>>()?,
        parse_errors: (0..PARSE_ERROR_ENTRIES)
            .map(|index| sum(&errors, index))
            .collect::<Result<_>>()?,
        flow_inserts: counter(Counter::FlowInserts)?,
        flow_insert_failures: counter(Counter::FlowInsertFailures)?,
        slow_parse: counter(Counter::SlowParse)?,
        other_sights: counter(Counter::OtherSights)?,
        other_dns: counter(Counter::OtherDns)?,
        samples: samples::read(ebpf)?,
        sights: sights::read(ebpf, hooks)?,
    })
}

/// Reads the flow tables of both IP versions. Entries evicted meanwhile are left out.
///
/// # Errors
/// When a map is missing or cannot be read.
pub(super) fn read_flows(ebpf: &Ebpf) -> Result<Vec<FlowReading>> {
    let mut flows = read_table::<u32>(ebpf, names::FLOWS4)?;
    flows.extend(read_table::<[u32; 4]>(ebpf, names::FLOWS6)?);
    Ok(flows)
}

/// Reads few flows, as far as they are in the tables.
///
/// # Errors
/// When a map is missing or cannot be read.
pub(super) fn read_flows_of(ebpf: &Ebpf, flows: &[FlowName]) -> Result<Vec<FlowReading>> {
    let v4 = flows.iter().filter_map(|flow| match (flow.source, flow.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Some(key(flow, u32::of(source), u32::of(destination)))
        }
        _ => None,
    });
    let v6 = flows.iter().filter_map(|flow| match (flow.source, flow.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Some(key(flow, <[u32; 4]>::of(source), <[u32; 4]>::of(destination)))
        }
        _ => None,
    });
    let mut readings = read_keys(ebpf, names::FLOWS4, v4)?;
    readings.extend(read_keys(ebpf, names::FLOWS6, v6)?);
    Ok(readings)
}

fn key<A: Address>(flow: &FlowName, source: A, destination: A) -> FlowKey<A> {
    let ports = u32::from(flow.source_port) << 16 | u32::from(flow.destination_port);
    FlowKey::new(source, destination, flow.protocol, ports.to_be())
}

fn read_keys<A>(
    ebpf: &Ebpf,
    name: &str,
    keys: impl Iterator<Item = FlowKey<A>>,
) -> Result<Vec<FlowReading>>
where
    A: Address<Ip: Into<IpAddr>>,
    FlowKey<A>: aya::Pod,
    FlowValue<A>: aya::Pod,
{
    let map = ebpf.map(name).context("the object has no flow table")?;
    let map: PerCpuHashMap<&MapData, FlowKey<A>, FlowValue<A>> = map.try_into()?;
    let mut readings = Vec::new();
    for key in keys {
        match map.get(&key, 0) {
            Ok(values) => readings.push(sum_flow(&key, values.iter())),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("reading a flow"),
        }
    }
    Ok(readings)
}

/// Eviction can send the walk back to its start, so it ends after twice as many steps as a table
/// has entries at most.
fn read_table<A>(ebpf: &Ebpf, name: &str) -> Result<Vec<FlowReading>>
where
    A: Address<Ip: Into<IpAddr>> + Eq + Hash,
    FlowKey<A>: aya::Pod,
    FlowValue<A>: aya::Pod,
{
    let map = ebpf.map(name).context("the object has no flow table")?;
    let map: PerCpuHashMap<&MapData, FlowKey<A>, FlowValue<A>> = map.try_into()?;
    let mut flows = HashMap::new();
    for key in map.keys().take(2 * FLOWS as usize) {
        let key = match key {
            Ok(key) => key,
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error).context("walking the flow table"),
        };
        match map.get(&key, 0) {
            Ok(values) => {
                flows.insert(key, sum_flow(&key, values.iter()));
            }
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("reading a flow"),
        }
    }
    Ok(flows.into_values().collect())
}

fn array<'a, V: aya::Pod>(ebpf: &'a Ebpf, name: &str) -> Result<PerCpuArray<&'a MapData, V>> {
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(map.try_into()?)
}

fn sum(array: &PerCpuArray<&MapData, u64>, index: u32) -> Result<u64> {
    let values = array.get(&index, 0).with_context(|| format!("reading counter {index}"))?;
    Ok(values.iter().sum())
}

/// `now` is that of [`monotonic_nanoseconds`].
fn read_slot(array: &PerCpuArray<&MapData, PeerValue>, slot: u32, now: u64) -> Result<SlotReading> {
    let values = array.get(&slot, 0).with_context(|| format!("reading peer slot {slot}"))?;
    let mut reading = SlotReading::default();
    for value in values.iter() {
        add(&mut reading.packets, value.packets());
        add(&mut reading.bytes, value.bytes());
    }
    reading.vtep_mac = agreed(values.iter().filter_map(PeerValue::vtep_mac));
    reading.outer_mac = agreed(values.iter().filter_map(|value| value.outer_mac(now)));
    Ok(reading)
}

/// What all CPUs say that have seen one: which of several is the newest none of them tells.
fn agreed(mut macs: impl Iterator<Item = [u8; 6]>) -> Option<[u8; 6]> {
    let first = macs.next()?;
    macs.all(|mac| mac == first).then_some(first)
}

fn add(sums: &mut [u64], values: &[u64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

fn sum_flow<'a, A: Address<Ip: Into<IpAddr>> + 'a>(
    key: &FlowKey<A>,
    values: impl Iterator<Item = &'a FlowValue<A>>,
) -> FlowReading {
    let address = |address: A| address.ip().into();
    let mut flow = FlowReading {
        source: address(key.source()),
        destination: address(key.destination()),
        protocol: key.protocol(),
        source_port: key.source_port(),
        destination_port: key.destination_port(),
        packets: [0; FLOW_COUNTS],
        birth: 0,
        outer_remote: None,
    };
    for value in values {
        for (sum, packets) in flow.packets.iter_mut().zip(value.packets()) {
            *sum += u64::from(*packets);
        }
        flow.birth = flow.birth.max(value.birth());
        flow.outer_remote = flow.outer_remote.or(value.outer_remote().map(address));
    }
    flow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_found_again_by_its_name() {
        let flow = FlowName {
            source: [10, 244, 1, 5].into(),
            destination: [10, 96, 0, 10].into(),
            protocol: 17,
            source_port: 40_000,
            destination_port: 53,
        };
        let ends = [[10, 244, 1, 5], [10, 96, 0, 10]].map(|it| u32::of(it.into()));
        let key: FlowKey<u32> = key(&flow, ends[0], ends[1]);
        assert_eq!(sum_flow(&key, std::iter::empty()).name(), flow);
    }

    #[test]
    fn a_mac_that_cpus_do_not_agree_about_is_none() {
        let (old, new) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        assert_eq!(agreed([new, new].into_iter()), Some(new));
        assert_eq!(agreed([old, new, new].into_iter()), None);
        assert_eq!(agreed([].into_iter()), None);
    }
}
