//! Typed readers of the drop programs' maps. Each counter is read once per CPU and summed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{MapData, MapError, PerCpuArray, PerCpuHashMap},
};
use nix::net::if_::if_indextoname;
use tracer_common::{
    address::Address,
    drop::{DropFlowKey, DropFlowValue, DropKey, DropSlot, DropTotal},
    flow::FlowKey,
    names,
};

use super::{DropEntries, Symbols, types::KernelTypes};
use crate::evidence::{DropFlow, DropOuter};

/// What was dropped since the start. Packets are segments, except that a session without the
/// packets' own headers counts a packet of many segments as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropReading {
    /// By place and EtherType, in their order.
    pub places: Vec<PlaceReading>,
    /// By place and flow, as far as there was room; in no order. Read before the places, so that a
    /// place has not less than its flows.
    pub flows: Vec<DropFlowReading>,
    /// Packets of this node at places that found no room.
    pub other: u64,
    /// Packets of other network namespaces that are none of this node's pods.
    pub elsewhere: u64,
    /// Packets that name neither a device nor a socket, and so no namespace.
    pub unplaced: u64,
    /// Entries that were made in the tables of flows.
    pub flow_inserts: u64,
    /// Drops, of any namespace, that the kernel did not hand over, because they came in the middle
    /// of another on the same CPU (Linux 6.1 and newer).
    pub missed: u64,
}

/// What was dropped at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceReading {
    /// The place, in numbers of this kernel.
    pub at: DropKey,
    /// EtherType; 0 when the kernel had set none yet.
    pub ethertype: u16,
    /// The kernel's name of the reason, such as `NO_SOCKET`; `None` before Linux 5.17.
    pub reason: Option<String>,
    /// The function that dropped; `None` without CAP_SYSLOG.
    pub symbol: Option<String>,
    /// Name of the device in the network namespace of the reader, now; `None` when the packet had
    /// none, when it is a pod's, and when there is no such device any more.
    pub device: Option<String>,
    /// Exact, but for [`DropReading::missed`].
    pub packets: u64,
}

/// Packets of one flow at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropFlowReading {
    /// The place.
    pub at: DropKey,
    /// EtherType of the packet as it was dropped.
    pub ethertype: u16,
    /// The packet's own 5-tuple.
    pub flow: DropFlow,
    /// The carrier of a packet that was dropped encapsulated.
    pub outer: Option<DropOuter>,
    /// Segments; the sum of counters that wrap at 2^32 on each CPU, itself taken modulo 2^32.
    pub packets: u32,
    /// Differs between two lives of one entry.
    pub birth: u32,
}

/// An IP version as evidence has it.
trait Version: Address<Ip: Into<IpAddr>> + Eq + Hash {
    /// Its EtherType.
    const ETHERTYPE: u16;
    /// The number of its ICMP, and the types of an echo and its reply.
    const ICMP: (u8, [u16; 2]);
}

impl Version for u32 {
    const ETHERTYPE: u16 = 0x0800;
    const ICMP: (u8, [u16; 2]) = (1, [8, 0]);
}

impl Version for [u32; 4] {
    const ETHERTYPE: u16 = 0x86dd;
    const ICMP: (u8, [u16; 2]) = (58, [128, 129]);
}

/// Reads all maps but what the kernel counts itself.
pub(super) fn read(
    ebpf: &Ebpf,
    entries: DropEntries,
    types: &KernelTypes,
    symbols: &mut Symbols,
) -> Result<DropReading> {
    let mut flows = read_flows::<u32>(ebpf, names::DROP_FLOWS4, entries.flows4)?;
    flows.extend(read_flows::<[u32; 4]>(ebpf, names::DROP_FLOWS6, entries.flows6)?);
    let places = read_places(ebpf, entries.places)?;
    symbols
        .find(places.keys().map(|(at, _)| at.location()))
        .context("the names of kernel functions (/proc/kallsyms)")?;
    let totals: PerCpuArray<&MapData, u64> = array(ebpf, names::DROP_TOTALS)?;
    let total = |total: DropTotal| -> Result<u64> {
        let values = totals.get(&(total as u32), 0).context("reading the totals of drops")?;
        Ok(values.iter().sum())
    };
    let place = |((at, ethertype), packets): ((DropKey, u16), u64)| PlaceReading {
        at,
        ethertype,
        reason: types.reason(at.reason()),
        symbol: symbols.name(at.location()).map(str::to_owned),
        device: at.ifindex().and_then(device),
        packets,
    };
    Ok(DropReading {
        places: places.into_iter().map(place).collect(),
        flows,
        other: total(DropTotal::Other)?,
        elsewhere: total(DropTotal::Elsewhere)?,
        unplaced: total(DropTotal::Unplaced)?,
        flow_inserts: total(DropTotal::FlowInserts)?,
        missed: 0,
    })
}

fn array<'a, V: Pod>(ebpf: &'a Ebpf, name: &str) -> Result<PerCpuArray<&'a MapData, V>> {
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(map.try_into()?)
}

/// The slots of all CPUs together: each has its own for a place.
fn read_places(ebpf: &Ebpf, slots: u32) -> Result<BTreeMap<(DropKey, u16), u64>> {
    let array: PerCpuArray<&MapData, DropSlot> = array(ebpf, names::DROP_PLACES_TABLE)?;
    let mut sums = BTreeMap::new();
    for index in 0..slots {
        let values = array.get(&index, 0).context("reading the places of drops")?;
        for slot in values.iter() {
            if let Some(place) = slot.place() {
                let sum: &mut u64 = sums.entry((place, slot.ethertype())).or_default();
                *sum = sum.wrapping_add(slot.packets());
            }
        }
    }
    Ok(sums)
}

/// Reads the flows of one IP version. Eviction can send the walk back to its start, so it ends
/// after twice as many steps as the table has entries at most, with some more that the kernel adds
/// for each CPU.
fn read_flows<A: Version>(ebpf: &Ebpf, name: &str, entries: u32) -> Result<Vec<DropFlowReading>>
where
    DropFlowKey<A>: Pod,
{
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    let map: PerCpuHashMap<&MapData, DropFlowKey<A>, DropFlowValue> = map.try_into()?;
    let mut flows = HashMap::new();
    for key in map.keys().take(2 * entries as usize + 2048) {
        let key = match key {
            Ok(key) => key,
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error).context("walking the table of dropped flows"),
        };
        match map.get(&key, 0) {
            Ok(values) => {
                flows.insert(key, flow(&key, values.iter()));
            }
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("reading a dropped flow"),
        }
    }
    Ok(flows.into_values().collect())
}

fn flow<'a, A: Version>(
    key: &DropFlowKey<A>,
    values: impl Iterator<Item = &'a DropFlowValue>,
) -> DropFlowReading {
    let address = |address: A| address.ip().into();
    let (mut packets, mut birth) = (0_u32, 0);
    for value in values {
        packets = packets.wrapping_add(value.packets());
        birth = value.birth().max(birth);
    }
    DropFlowReading {
        at: key.place(),
        ethertype: A::ETHERTYPE,
        flow: tuple(key.flow()),
        outer: key.outer().map(|(source, destination)| DropOuter {
            source: address(source),
            destination: address(destination),
        }),
        packets,
        birth,
    }
}

/// The programs have an ICMP message's type and code in one port, an echo's identifier in the other.
fn tuple<A: Version>(key: &FlowKey<A>) -> DropFlow {
    let (mut source_port, mut destination_port) = (key.source_port(), key.destination_port());
    let (icmp, echo) = A::ICMP;
    if key.protocol() == icmp {
        let (kind, code) = (source_port >> 8, source_port & 0xff);
        source_port = kind;
        if !echo.contains(&kind) {
            destination_port = code;
        }
    }
    DropFlow {
        source: key.source().ip().into(),
        destination: key.destination().ip().into(),
        protocol: key.protocol(),
        source_port,
        destination_port,
    }
}

fn device(index: u32) -> Option<String> {
    if_indextoname(index).ok().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: u8, ports: [u16; 2]) -> DropFlowKey<u32> {
        let ports = u32::from(ports[0]) << 16 | u32::from(ports[1]);
        let addresses = [[10, 244, 1, 2], [10, 244, 2, 3]].map(u32::from_ne_bytes);
        let flow = FlowKey::new(addresses[0], addresses[1], protocol, ports.to_be());
        DropFlowKey::new(DropKey::new(1, 2, 3), flow)
    }

    #[test]
    fn an_icmp_message_has_its_type_and_code_or_identifier_for_ports() {
        let ports = |protocol, ports| {
            let flow = tuple(key(protocol, ports).flow());
            (flow.source_port, flow.destination_port)
        };
        assert_eq!(ports(17, [53, 4000]), (53, 4000));
        assert_eq!(ports(1, [0x0800, 77]), (8, 77));
        assert_eq!(ports(1, [0x0000, 78]), (0, 78));
        assert_eq!(ports(1, [0x0304, 0]), (3, 4));
    }

    #[test]
    fn a_flow_is_the_sum_of_all_cpus_and_born_on_one_of_them() {
        let mut key = key(6, [1, 2]);
        let values = [DropFlowValue::new(3, 0), DropFlowValue::new(u32::MAX, 9)];
        let read = flow(&key, values.iter());
        assert_eq!((read.packets, read.birth, read.outer), (2, 9, None));
        key.set_outer(u32::from_ne_bytes([192, 0, 2, 1]), u32::from_ne_bytes([192, 0, 2, 2]));
        let outer = flow(&key, values.iter()).outer.unwrap();
        assert_eq!(outer.destination, IpAddr::from([192, 0, 2, 2]));
    }
}
