//! What was dropped since the daemon began: exact totals by cause, and few flows. Pure.

mod sticky;

use std::{collections::BTreeMap, net::IpAddr};

pub use self::sticky::Sticky;
use crate::{
    diagnose::UNEXPLAINED,
    evidence::{Drop, DropPlace, Drops, has_ports},
};

/// How long a flow that loses nothing keeps its series, in seconds.
const IDLE: f64 = 3600.0;
/// What has no reason, because the kernel gives none.
const NO_REASON: &str = "none";
/// What is known by its number alone.
const OTHER: &str = "other";

/// Packets dropped since the daemon began.
#[derive(Debug, Clone)]
pub struct DropTotals {
    by_place: BTreeMap<Place, u64>,
    flows: Sticky<DroppedFlow>,
    flow_evictions: u64,
}

/// The labels of `drops_total`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The code of a finding, or `unexplained`.
    pub cause: &'static str,
    /// The kernel's reason; `none` where it gives none.
    pub reason: String,
    /// A device with a role, `pod` or `other`.
    pub interface: String,
}

/// The labels of `flow_drops_total`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct DroppedFlow {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    pub destination_port: u16,
    /// The code of a finding, or `unexplained`.
    pub cause: &'static str,
}

// === impl DropTotals ===

impl DropTotals {
    /// Nothing yet; at most `flows` flows will have a series.
    #[must_use]
    pub const fn new(flows: usize) -> Self {
        Self { by_place: BTreeMap::new(), flows: Sticky::new(flows, IDLE), flow_evictions: 0 }
    }

    /// Adds the drops of a window that ended at `now`, in seconds of a clock that never goes back.
    /// `causes` are those of the entries, in their order; a window that was not judged has none.
    /// `devices` are the names of the devices that have a role.
    pub fn add(&mut self, now: f64, drops: &Drops, causes: &[&'static str], devices: &[&str]) {
        let mut flows = Vec::new();
        let mut listed = 0;
        let causes = causes.iter().copied().chain(std::iter::repeat(UNEXPLAINED));
        for (drop, cause) in drops.entries.iter().zip(causes) {
            self.count(place(drop, cause, devices), drop.packets);
            listed += drop.packets;
            flows.extend(flow(drop, cause).map(|flow| (flow, drop.packets)));
        }
        let unlisted = drops.packets.saturating_sub(listed);
        let (reason, interface) = (OTHER.to_owned(), OTHER.to_owned());
        self.count(Place { cause: UNEXPLAINED, reason, interface }, unlisted);
        let in_flows: u64 = flows.iter().map(|(_, packets)| packets).sum();
        self.flows.add(now, flows, listed + unlisted - in_flows);
        self.flow_evictions += drops.flow_evictions;
    }

    /// Flows that newer ones pushed out of the kernel's table; their packets are counted all the same.
    #[must_use]
    pub const fn flow_evictions(&self) -> u64 {
        self.flow_evictions
    }

    /// Packets by cause, reason and device: exact.
    pub fn by_place(&self) -> impl Iterator<Item = (&Place, u64)> {
        self.by_place.iter().map(|(place, packets)| (place, *packets))
    }

    /// The same packets by flow, see [`Sticky`].
    #[must_use]
    pub const fn flows(&self) -> &Sticky<DroppedFlow> {
        &self.flows
    }

    fn count(&mut self, place: Place, packets: u64) {
        if packets > 0 {
            *self.by_place.entry(place).or_insert(0) += packets;
        }
    }
}

fn place(drop: &Drop, cause: &'static str, devices: &[&str]) -> Place {
    let role = || drop.interface.as_deref().filter(|name| devices.contains(name));
    let interface = match drop.place {
        DropPlace::Pod => "pod",
        DropPlace::Node => role().unwrap_or(OTHER),
    };
    let reason = drop.reason.as_deref().unwrap_or(NO_REASON);
    Place { cause, reason: reason.to_owned(), interface: interface.to_owned() }
}

fn flow(drop: &Drop, cause: &'static str) -> Option<DroppedFlow> {
    let flow = drop.flow?;
    // The ports of other protocols say nothing about a destination.
    let has_ports = has_ports(flow.protocol);
    Some(DroppedFlow {
        source: flow.source,
        destination: flow.destination,
        protocol: flow.protocol,
        destination_port: if has_ports { flow.destination_port } else { 0 },
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::testing::dropped_to, evidence::DropFlow};

    fn drop(interface: &str, place: DropPlace, port: u16, packets: u64) -> Drop {
        let drop = dropped_to(port, packets);
        let flow = drop.flow.filter(|_| port > 0);
        Drop { interface: Some(interface.to_owned()), place, flow, ..drop }
    }

    fn sums(totals: &DropTotals) -> (u64, u64) {
        let flows: u64 = totals.flows().series().map(|(_, packets)| packets).sum();
        (totals.by_place().map(|it| it.1).sum(), flows + totals.flows().other())
    }

    #[test]
    fn a_hundred_thousand_flows_add_up_before_and_after_their_series_expire() {
        let mut totals = DropTotals::new(100);
        for window in 0..100_u32 {
            let flow = |number: u32| {
                let source = std::net::Ipv4Addr::from_bits(0x6440_0000 + window * 1000 + number);
                let drop = drop("cni0", DropPlace::Node, 53, 1);
                let flow = drop.flow.map(|flow| DropFlow { source: source.into(), ..flow });
                Drop { flow, ..drop }
            };
            let entries = (0..1000).map(flow).collect();
            let drops = Drops { entries, packets: 1000, flow_evictions: 900, ..Drops::default() };
            totals.add(f64::from(window), &drops, &[], &["cni0"]);
        }
        assert_eq!(sums(&totals), (100_000, 100_000));
        assert_eq!((totals.flows().series().count(), totals.flow_evictions()), (100, 90_000));
        totals.add(100.0 + IDLE, &Drops::default(), &[], &["cni0"]);
        assert_eq!(sums(&totals), (100_000, 100_000));
        assert_eq!((totals.flows().series().count(), totals.flows().other()), (0, 100_000));
    }

    #[test]
    fn both_counters_add_up_to_the_exact_total() {
        let mut totals = DropTotals::new(1);
        let entries = vec![
            drop("cni0", DropPlace::Node, 53, 10),
            drop("cni0", DropPlace::Node, 80, 5),
            drop("cni0", DropPlace::Node, 0, 2),
            drop("eth0", DropPlace::Pod, 53, 1),
        ];
        let drops = Drops { entries, packets: 20, ..Drops::default() };
        let causes = ["ip-forward-off", "ip-forward-off"];
        totals.add(1.0, &drops, &causes, &["cni0", "flannel.1"]);
        totals.add(2.0, &drops, &[], &["cni0", "flannel.1"]);
        assert_eq!(sums(&totals), (40, 40));
        assert_eq!(totals.flows().series().count(), 1);
        let of = |cause: &str, interface: &str| {
            let is_it = |it: &(&Place, u64)| (it.0.cause, &*it.0.interface) == (cause, interface);
            totals.by_place().filter(is_it).map(|it| it.1).sum::<u64>()
        };
        assert_eq!(of("ip-forward-off", "cni0"), 15);
        assert_eq!((of("unexplained", "cni0"), of("unexplained", "pod")), (2 + 17, 2));
        assert_eq!(of("unexplained", "other"), 4, "what is not listed");
    }
}
