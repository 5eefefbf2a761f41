//! The programs that look closely at rare packets, and what they have seen.

use std::{collections::BTreeMap, mem};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuHashMap},
};
use tracer_common::{
    names,
    sight::{POD_SIGHTS, SIGHTS, SightKey, SightKind},
};

use super::tail_calls;
use crate::evidence::{DropFlow, Hook, IcmpError, MacAddress, Sight};

/// A sight and how often it was had since the programs were loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightCount {
    /// Index of the device.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// What was seen.
    pub what: Sight,
    /// Packets.
    pub packets: u64,
}

/// Loads the programs that look closely and tells the others of them; those of uplinks without an
/// Ethernet header only where there are such.
///
/// # Errors
/// When one of them cannot be loaded: then no packet is looked at by it.
pub(super) fn load(ebpf: &mut Ebpf, has_layer3: bool) -> Result<()> {
    tail_calls::load(ebpf, &names::LOOKS, names::CLOSER, has_layer3)
}

/// What has been seen at devices that have hooks.
///
/// # Errors
/// When a map is missing or cannot be read.
pub(super) fn read(ebpf: &Ebpf, hooks: &[Hook]) -> Result<Vec<SightCount>> {
    let mut sights = read_table(ebpf, names::SIGHTS, SIGHTS)?;
    sights.extend(read_table(ebpf, names::POD_SIGHTS, POD_SIGHTS)?);
    Ok(sights.iter().filter_map(|(key, packets)| decode(key, *packets, hooks)).collect())
}

/// Sights that were there at the last look for idle ones, while a table is nearly full.
#[derive(Debug, Default)]
pub(super) struct Aging(BTreeMap<SightKey, u64>);

// === impl Aging ===

impl Aging {
    /// Makes room for new sights where a table is three quarters full: what has not been seen again
    /// since the last call is taken out. Who goes on being seen keeps its count.
    ///
    /// # Errors
    /// When a map is missing, or cannot be read or changed.
    pub(super) fn forget_idle(&mut self, ebpf: &mut Ebpf) -> Result<()> {
        let last = mem::take(&mut self.0);
        for (name, entries) in [(names::SIGHTS, SIGHTS), (names::POD_SIGHTS, POD_SIGHTS)] {
            let now = read_table(ebpf, name, entries)?;
            if now.len() >= entries as usize / 4 * 3 {
                let idle = now.iter().filter(|(key, packets)| last.get(*key) == Some(*packets));
                remove(ebpf, name, idle.map(|(key, _)| key))?;
                self.0.extend(now);
            }
        }
        Ok(())
    }
}

fn remove<'a>(ebpf: &mut Ebpf, name: &str, keys: impl Iterator<Item = &'a SightKey>) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    let mut map: PerCpuHashMap<&mut MapData, SightKey, u64> = map.try_into()?;
    for key in keys {
        map.remove(key).with_context(|| format!("taking a sight out of the map {name}"))?;
    }
    Ok(())
}

/// A map's values, summed over the CPUs. Nothing is removed meanwhile, so that a walk comes to its end.
fn read_table(ebpf: &Ebpf, name: &str, entries: u32) -> Result<BTreeMap<SightKey, u64>> {
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    let map: PerCpuHashMap<&MapData, SightKey, u64> = map.try_into()?;
    let mut sums = BTreeMap::new();
    for key in map.keys().take(entries as usize) {
        let key = key.with_context(|| format!("walking the map {name}"))?;
        let values = map.get(&key, 0).with_context(|| format!("reading the map {name}"))?;
        sums.insert(key, values.iter().sum());
    }
    Ok(sums)
}

/// What a key stands for; `None` for what no program writes, and for a device that has gone.
fn decode(key: &SightKey, packets: u64, hooks: &[Hook]) -> Option<SightCount> {
    let ifindex = key.ifindex();
    let interface = hooks.iter().find(|hook| hook.ifindex == ifindex)?.interface.clone();
    Some(SightCount { ifindex, interface, what: sight(key)?, packets })
}

fn sight(key: &SightKey) -> Option<Sight> {
    let [_, port] = key.ports();
    let (first, second) = (key.address(0), key.address(1));
    let macs = [0, 1].map(|place| MacAddress(key.mac(place)));
    Some(match key.kind()? {
        SightKind::IcmpError => Sight::IcmpError(icmp_error(key)),
        SightKind::OtherVni => Sight::OtherVni { source: first, vni: key.number() },
        SightKind::OtherPort => Sight::OtherPort { source: first, port, vni: key.number() },
        SightKind::BadHeader => Sight::BadHeader { source: first, flags: key.number() },
        SightKind::OtherMac => {
            Sight::OtherMac { destination: macs[0], source: macs[1], address: first }
        }
        SightKind::OwnMac => Sight::OwnMac { source: first },
        SightKind::OuterFragment => Sight::OuterFragment { destination: first },
        SightKind::Unmasqueraded => {
            Sight::Unmasqueraded { source: first, destination: second, port }
        }
        SightKind::Reset => Sight::Reset { source: first, port, destination: second },
        SightKind::Claim => Sight::Claim { address: first, mac: macs[0] },
    })
}

fn icmp_error(key: &SightKey) -> IcmpError {
    let ([kind, code], [source_port, destination_port]) = (key.icmp(), key.ports());
    IcmpError {
        sender: key.address(0),
        receiver: key.address(1),
        kind,
        code,
        mtu: u16::try_from(key.number()).unwrap_or(u16::MAX),
        quoted: DropFlow {
            source: key.address(2),
            destination: key.address(3),
            protocol: key.protocol(),
            source_port,
            destination_port,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tracer_common::address::Address as _;

    use super::*;
    use crate::evidence::HookDirection;

    fn hook(ifindex: u32) -> Hook {
        Hook {
            interface: format!("eth{ifindex}"),
            ifindex,
            direction: HookDirection::Ingress,
            attached: true,
            because: String::new(),
            foreign: Vec::new(),
        }
    }

    fn word(last: u8) -> u32 {
        u32::of(Ipv4Addr::new(10, 0, 0, last))
    }

    fn key(kind: SightKind) -> SightKey {
        SightKey::new(kind, 3, [word(1), word(2)])
    }

    #[test]
    fn a_key_of_no_kind_or_of_a_device_without_hooks_is_left_out() {
        let key = key(SightKind::Reset).with_port(80);
        let found = decode(&key, 9, &[hook(2), hook(3)]).unwrap();
        assert_eq!((found.ifindex, found.interface.as_str(), found.packets), (3, "eth3", 9));
        assert_eq!(decode(&key, 9, &[hook(2)]), None);
        assert_eq!(decode(&SightKey::default(), 9, &[hook(0)]), None);
    }

    #[test]
    fn an_icmp_error_is_read_with_what_it_quotes() {
        let key = key(SightKind::IcmpError).with_number(u32::MAX).with_quoted(
            [3, 4],
            [word(2), word(3)],
            17,
            [0, 8472],
        );
        let Some(Sight::IcmpError(error)) = sight(&key) else { panic!("no ICMP error") };
        assert_eq!((error.kind, error.code, error.mtu), (3, 4, u16::MAX));
        assert_eq!((error.sender, error.receiver), (key.address(0), key.address(1)));
        let quoted = error.quoted;
        assert_eq!((quoted.source, quoted.destination), (key.address(2), key.address(3)));
        assert_eq!((quoted.protocol, quoted.source_port, quoted.destination_port), (17, 0, 8472));
    }

    #[test]
    fn macs_stand_in_the_order_of_the_frame() {
        let macs = [[0x0201, 0x0403, 0x0605], [0, 0, 0x0700]].map(|it| it.map(u16::from_le));
        let found = sight(&key(SightKind::OtherMac).with_macs(macs));
        assert_eq!(
            found,
            Some(Sight::OtherMac {
                destination: MacAddress([1, 2, 3, 4, 5, 6]),
                source: MacAddress([0, 0, 0, 0, 0, 7]),
                address: Ipv4Addr::new(10, 0, 0, 1).into(),
            })
        );
    }
}
