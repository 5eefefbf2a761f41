//! Totals that never fall: when programs are loaded anew, their counters begin at zero, and what
//! the ones before had counted is carried on. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;
use tracer_common::{
    peer::FIRST_PEER,
    stage::{OVERLAY_IN, WIRE_IN},
};

use crate::kernel::{Reading, SampleReading, SlotReading};

/// Everything counted since the daemon began.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    /// What former sessions counted.
    carried: Sums,
    /// What the present one has counted.
    current: Sums,
    /// Packets heard of each peer when [`Totals::heard_of`] was asked last.
    heard: BTreeMap<IpNet, u64>,
}

/// Sums of one session or of several.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sums {
    /// By slot, those that are no peer's ([`tracer_common::peer::OTHER`] and its like).
    pub common: Vec<SlotReading>,
    /// By peer.
    pub peers: BTreeMap<IpNet, SlotReading>,
    /// By [`tracer_common::counter::parse_error_index`].
    pub parse_errors: Vec<u64>,
    /// Flow entries made.
    pub flow_inserts: u64,
    /// Flow entries that the kernel refused.
    pub flow_insert_failures: u64,
    /// Flow entries pushed out by newer ones.
    pub flow_evictions: u64,
    /// Packets read by copy.
    pub slow_parse: u64,
    /// Rare packets for which no entry was left.
    pub other_sights: u64,
    /// DNS messages for whose server no entry was left.
    pub other_dns: u64,
    /// What was sampled, by index of [`tracer_common::stage`].
    pub samples: Vec<SampleReading>,
}

// === impl Totals ===

impl Totals {
    /// Takes over a reading of the present session, whose peers are in the order of their slots.
    pub fn read(&mut self, peers: &[IpNet], reading: &Reading) {
        let first = (FIRST_PEER as usize).min(reading.slots.len());
        let (common, slots) = reading.slots.split_at(first);
        let flow_evictions = self.current.flow_evictions;
        self.current = Sums {
            common: common.to_vec(),
            peers: peers.iter().copied().zip(slots.iter().copied()).collect(),
            parse_errors: reading.parse_errors.clone(),
            flow_inserts: reading.flow_inserts,
            flow_insert_failures: reading.flow_insert_failures,
            flow_evictions,
            slow_parse: reading.slow_parse,
            other_sights: reading.other_sights,
            other_dns: reading.other_dns,
            samples: reading.samples.clone(),
        };
    }

    /// Takes over the number of flows that the table held after the last reading: what was
    /// inserted and is not there has been evicted.
    pub fn flows_present(&mut self, present: usize) {
        let evicted = self.current.flow_inserts.saturating_sub(present as u64);
        self.current.flow_evictions = self.current.flow_evictions.max(evicted);
    }

    /// The present session has ended; the next one begins at zero.
    pub fn carry(&mut self) {
        self.carried = self.sums();
        self.current = Sums::default();
    }

    /// The peers from which packets came since this was asked last.
    pub fn heard_of(&mut self) -> Vec<IpNet> {
        let mut heard_of = Vec::new();
        for (cidr, slot) in &self.sums().peers {
            let packets = slot.packets[WIRE_IN] + slot.packets[OVERLAY_IN];
            let before = self.heard.insert(*cidr, packets).unwrap_or(0);
            if packets > before {
                heard_of.push(*cidr);
            }
        }
        heard_of
    }

    /// Everything counted since the daemon began.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let (a, b) = (&self.carried, &self.current);
        let mut peers = a.peers.clone();
        for (cidr, slot) in &b.peers {
            let sum = peers.entry(*cidr).or_default();
            *sum = add(*sum, *slot);
        }
        Sums {
            common: longest(&a.common, &b.common, add),
            peers,
            parse_errors: longest(&a.parse_errors, &b.parse_errors, |a, b| a + b),
            flow_inserts: a.flow_inserts + b.flow_inserts,
            flow_insert_failures: a.flow_insert_failures + b.flow_insert_failures,
            flow_evictions: a.flow_evictions + b.flow_evictions,
            slow_parse: a.slow_parse + b.slow_parse,
            other_sights: a.other_sights + b.other_sights,
            other_dns: a.other_dns + b.other_dns,
            samples: longest(&a.samples, &b.samples, add_samples),
        }
    }
}

// === impl Sums ===

impl Sums {
    /// Packets of all slots at an index of [`tracer_common::stage`].
    #[must_use]
    pub fn packets(&self, index: usize) -> u64 {
        self.slots().map(|slot| slot.packets[index]).sum()
    }

    /// Bytes of all slots at an index of [`tracer_common::stage`] that has bytes.
    #[must_use]
    pub fn bytes(&self, index: usize) -> u64 {
        self.slots().map(|slot| slot.bytes[index]).sum()
    }

    /// Samples that were taken and found no room, of all stages.
    #[must_use]
    pub fn samples_lost(&self) -> u64 {
        self.samples.iter().map(|it| it.lost).sum()
    }

    fn slots(&self) -> impl Iterator<Item = &SlotReading> {
        self.common.iter().chain(self.peers.values())
    }
}

fn add(mut a: SlotReading, b: SlotReading) -> SlotReading {
    a.packets.iter_mut().zip(b.packets).for_each(|(sum, count)| *sum += count);
    a.bytes.iter_mut().zip(b.bytes).for_each(|(sum, count)| *sum += count);
    a.vtep_mac = b.vtep_mac.or(a.vtep_mac);
    a.outer_mac = b.outer_mac.or(a.outer_mac);
    a
}

fn add_samples(a: SampleReading, b: SampleReading) -> SampleReading {
    SampleReading {
        taken: a.taken + b.taken,
        anomalies: a.anomalies + b.anomalies,
        lost: a.lost + b.lost,
    }
}

/// Adds two lists element by element; the shorter one goes on with nothing.
fn longest<T: Copy + Default>(a: &[T], b: &[T], add: impl Fn(T, T) -> T) -> Vec<T> {
    let at = |list: &[T], index: usize| list.get(index).copied().unwrap_or_default();
    (0..a.len().max(b.len())).map(|index| add(at(a, index), at(b, index))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use tracer_common::stage::WIRE_OUT;

    use super::*;

    fn cidr(number: u8) -> IpNet {
        format!("10.244.{number}.0/24").parse().unwrap()
    }

    fn reading(slots: &[u64]) -> Reading {
        let mut all = vec![SlotReading::default(); FIRST_PEER as usize + slots.len()];
        for (slot, packets) in all[FIRST_PEER as usize..].iter_mut().zip(slots) {
            slot.packets[WIRE_OUT] = *packets;
        }
        Reading { slots: all, ..Reading::default() }
    }

    #[test]
    fn a_peer_keeps_its_count_when_it_gets_another_slot() {
        let mut totals = Totals::default();
        totals.read(&[cidr(1), cidr(2)], &reading(&[10, 20]));
        totals.carry();
        totals.read(&[cidr(2), cidr(3)], &reading(&[1, 2]));
        let sums = totals.sums();
        let of = |number| sums.peers[&cidr(number)].packets[WIRE_OUT];
        assert_eq!((of(1), of(2), of(3)), (10, 21, 2));
        assert_eq!(sums.packets(WIRE_OUT), 33);
    }

    #[test]
    fn samples_of_sessions_add_up() {
        let mut totals = Totals::default();
        let of = |taken| {
            let samples = vec![SampleReading { taken, anomalies: 1, lost: 2 }; 7];
            Reading { samples, ..Reading::default() }
        };
        totals.read(&[], &of(10));
        totals.carry();
        totals.read(&[], &of(5));
        let sums = totals.sums();
        assert_eq!(sums.samples[6], SampleReading { taken: 15, anomalies: 2, lost: 4 });
        assert_eq!(sums.samples_lost(), 28);
    }

    #[test]
    fn evictions_never_fall_though_flows_are_read_a_little_later_than_their_counter() {
        let mut totals = Totals::default();
        totals.read(&[], &Reading { flow_inserts: 100, ..Reading::default() });
        totals.flows_present(90);
        assert_eq!(totals.sums().flow_evictions, 10);
        totals.read(&[], &Reading { flow_inserts: 105, ..Reading::default() });
        totals.flows_present(96);
        assert_eq!(totals.sums().flow_evictions, 10);
    }

    proptest! {
        #[test]
        fn totals_never_fall(sessions in vec(vec(0..100_u64, 1..5), 1..5)) {
            let mut totals = Totals::default();
            let mut before = 0;
            for steps in sessions {
                let mut count = 0;
                for step in steps {
                    count += step;
                    totals.read(&[cidr(1)], &reading(&[count]));
                    let now = totals.sums().packets(WIRE_OUT);
                    prop_assert!(now >= before);
                    before = now;
                }
                totals.carry();
                prop_assert_eq!(totals.sums().packets(WIRE_OUT), before);
            }
        }
    }
}
