//! VIPs: who asks, who answers, who owns.

use super::{Family, Sample, Value, counter, gauge};
use crate::{evidence::MacAddress, kernel::VipReading};

/// One VIP since the daemon began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipMetrics {
    vip: String,
    requests: u64,
    /// By MAC; what has none of its own is `other`.
    replies: Vec<(String, u64)>,
    owner_changes: u64,
    is_announced_here: bool,
}

impl VipMetrics {
    /// What is exported of a reading.
    pub fn new(reading: &VipReading, is_own: impl Fn(MacAddress) -> bool) -> Self {
        let sum = |counts: [u64; 2]| counts.iter().sum::<u64>();
        let announcers = reading.announcers.iter();
        let mut replies: Vec<(String, u64)> =
            announcers.map(|it| (it.mac.to_string(), sum(it.replies))).collect();
        let told: u64 = replies.iter().map(|(_, replies)| replies).sum();
        replies.push(("other".to_owned(), sum(reading.replies).saturating_sub(told)));
        let owner = MacAddress(tracer_common::vip::mac(reading.owner.mac));
        Self {
            vip: reading.address.to_string(),
            requests: sum(reading.requests),
            replies,
            owner_changes: reading.owner.changes,
            is_announced_here: reading.owner.mac != 0 && is_own(owner),
        }
    }
}

pub(super) fn families(vips: &[VipMetrics]) -> [Family; 4] {
    let by_vip = |value: &dyn Fn(&VipMetrics) -> u64| {
        let sample = |it: &VipMetrics| Sample {
            labels: vec![("vip", it.vip.clone())],
            value: Value::Count(value(it)),
        };
        vips.iter().map(sample).collect()
    };
    let replies = vips.iter().flat_map(|it| {
        it.replies.iter().map(|(mac, replies)| Sample {
            labels: vec![("vip", it.vip.clone()), ("mac", mac.clone())],
            value: Value::Count(*replies),
        })
    });
    [
        counter(
            "vip_arp_requests",
            "Requests for a VIP (ARP, neighbour discovery) that were seen.",
            by_vip(&|it| it.requests),
        ),
        counter(
            "vip_arp_replies",
            "Replies for a VIP that were seen: those of this node, and those to it.",
            replies.collect(),
        ),
        counter(
            "vip_owner_changes",
            "How often another claimed a VIP than the one before.",
            by_vip(&|it| it.owner_changes),
        ),
        gauge(
            "vip_announced",
            "Whether this node claimed a VIP last.",
            by_vip(&|it| u64::from(it.is_announced_here)),
        ),
    ]
}

/// VIPs that nobody was heard of any more.
pub(super) fn forgotten(count: u64) -> Family {
    let sample = Sample { labels: Vec::new(), value: Value::Count(count) };
    counter(
        "vips_forgotten",
        "VIPs that nodes had announced, and that nobody has asked for or claimed for an hour.",
        vec![sample],
    )
}

/// VIPs that are not counted, because the programs' tables are full.
pub(super) fn without_room(count: u64) -> Family {
    let sample = Sample { labels: Vec::new(), value: Value::Count(count) };
    gauge(
        "vips_without_room",
        "VIPs that are not counted, because the programs' tables are full.",
        vec![sample],
    )
}

#[cfg(test)]
mod tests {
    use tracer_common::vip::{Owner, mac_number};

    use super::*;
    use crate::kernel::AnnouncerReading;

    #[test]
    fn replies_of_all_macs_are_the_exact_sum() {
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        let announcer =
            AnnouncerReading { mac, replies: [1, 2], gratuitous: [4, 0], first: 1, last: 2 };
        let number = mac_number([[2, 0], [0, 0], [0, 1]].map(u16::from_ne_bytes));
        let reading = VipReading {
            address: "192.0.2.50".parse().unwrap(),
            requests: [7, 1],
            replies: [5, 2],
            gratuitous: [9, 0],
            other_requests: 0,
            announcers: vec![announcer],
            clients: Vec::new(),
            owner: Owner { mac: number, changes: 3, ..Owner::default() },
        };
        let vip = VipMetrics::new(&reading, |it| it == mac);
        let other = ("other".to_owned(), 4);
        assert_eq!(vip.replies, [("02:00:00:00:00:01".to_owned(), 3), other]);
        assert_eq!((vip.requests, vip.owner_changes, vip.is_announced_here), (8, 3, true));
        assert!(!VipMetrics::new(&reading, |_| false).is_announced_here);
    }
}
