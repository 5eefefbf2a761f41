//! What was seen of VIPs in a window.

use std::net::IpAddr;

use tracer_common::vip::Owner;

use crate::{
    evidence::{Hook, MacAddress, Vip, VipAnnouncer, VipClient, VipOwner, Vips},
    kernel::{AnnouncerReading, ClientReading, VipReading, VipTable},
};

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The readings of a window, and what is known beside them.
pub struct VipObservation<'a> {
    /// At its start, in the middle and at its end. A VIP that came meanwhile counts from zero.
    pub readings: [&'a VipTable; 3],
    /// Where programs were to be attached.
    pub hooks: Vec<Hook>,
    /// The VIPs that are named by option.
    pub given: &'a [IpAddr],
    /// The name of the device whose subnet holds a VIP.
    pub interface_of: &'a dyn Fn(IpAddr) -> Option<String>,
}

/// What was seen in the window.
#[must_use]
pub fn vips(observation: VipObservation<'_>) -> Vips {
    let [start, _, end] = observation.readings;
    let entries = end.vips.iter().map(|reading| vip(&observation, reading));
    Vips {
        entries: entries.collect(),
        without_room: end.without_room,
        unannounced: end.unannounced.saturating_sub(start.unannounced),
        hooks: observation.hooks.clone(),
        devices: Vec::new(),
    }
}

fn vip(observation: &VipObservation<'_>, end: &VipReading) -> Vip {
    let [first, middle, last] = observation.readings;
    let find =
        |table: &'_ VipTable| table.vips.iter().find(|it| it.address == end.address).cloned();
    let (before, early) = (find(first), find(middle));
    let age = |time: u64| last.now.saturating_sub(time) as f64 / SECOND;
    let rise = |of: &dyn Fn(&VipReading) -> [u64; 2]| {
        let [since_in, since_out] = before.as_ref().map(of).unwrap_or_default();
        let [until_in, until_out] = of(end);
        [until_in.saturating_sub(since_in), until_out.saturating_sub(since_out)]
    };
    let [requests, own_requests] = rise(&|it| it.requests);
    let changes_before = before.as_ref().map_or(0, |it| it.owner.changes);
    let started = age(first.now);
    Vip {
        address: end.address,
        interface: (observation.interface_of)(end.address),
        given: observation.given.contains(&end.address),
        requests,
        own_requests,
        clients: clients(end, before.as_ref(), &age, started),
        replies: rise(&|it| it.replies).iter().sum(),
        gratuitous: rise(&|it| it.gratuitous).iter().sum(),
        announcers: announcers(end, before.as_ref(), early.as_ref(), &age),
        owner: owner(&end.owner, &age),
        owner_changes: end.owner.changes.saturating_sub(changes_before),
        gratuitous_age: (end.owner.gratuitous != 0).then(|| age(end.owner.gratuitous)),
        rules: None,
    }
}

/// Those that asked in the window. A place that was given to another meanwhile counts from zero.
fn clients(
    end: &VipReading,
    before: Option<&VipReading>,
    age: &dyn Fn(u64) -> f64,
    started: f64,
) -> Vec<VipClient> {
    let known = |it: &ClientReading| {
        let before = before?.clients.iter().find(|before| before.address == it.address)?;
        (before.requests <= it.requests).then_some(before.requests)
    };
    let client = |it: &ClientReading| VipClient {
        address: it.address,
        mac: it.mac,
        requests: it.requests - known(it).unwrap_or(0),
        asked: it.times.iter().map(|time| age(*time)).collect(),
    };
    let is_recent = |it: &VipClient| it.asked.first().is_some_and(|age| *age <= started);
    let mut clients: Vec<VipClient> = end.clients.iter().map(client).filter(is_recent).collect();
    clients.sort_by_key(|it| std::cmp::Reverse(it.requests));
    clients
}

fn announcers(
    end: &VipReading,
    before: Option<&VipReading>,
    early: Option<&VipReading>,
    age: &dyn Fn(u64) -> f64,
) -> Vec<VipAnnouncer> {
    let find = |table: Option<&VipReading>, mac: MacAddress| {
        table.and_then(|it| it.announcers.iter().find(|it| it.mac == mac).cloned())
    };
    let all = |it: &AnnouncerReading| -> u64 { it.replies.iter().chain(&it.gratuitous).sum() };
    let announcer = |it: &AnnouncerReading| {
        let (before, early) = (find(before, it.mac), find(early, it.mac));
        let since = |of: &dyn Fn(&AnnouncerReading) -> u64| {
            of(it).saturating_sub(before.as_ref().map_or(0, of))
        };
        let all_before = before.as_ref().map_or(0, all);
        VipAnnouncer {
            mac: it.mac,
            replies: since(&|it| it.replies.iter().sum()),
            gratuitous: since(&|it| it.gratuitous.iter().sum()),
            early: early.as_ref().map_or(0, |it| all(it).saturating_sub(all_before)),
            from_here: since(&|it| it.replies[1] + it.gratuitous[1]),
            age: age(it.last),
            first_age: age(it.first),
        }
    };
    end.announcers.iter().map(announcer).collect()
}

fn owner(owner: &Owner, age: &dyn Fn(u64) -> f64) -> Option<VipOwner> {
    let mac = |number: u64| MacAddress(tracer_common::vip::mac(number));
    (owner.mac != 0).then(|| VipOwner {
        mac: mac(owner.mac),
        since_age: age(owner.since),
        age: age(owner.last),
        former: (owner.former != 0).then(|| mac(owner.former)),
        gap: owner.gap().map(|gap| gap as f64 / SECOND),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [192, 0, 2, 1];

    fn mac(last: u8) -> MacAddress {
        MacAddress([2, 0, 0, 0, 0, last])
    }

    fn reading(requests: u64, announced: &[(u8, u64)]) -> VipReading {
        let announcer = |(last, times): &(u8, u64)| AnnouncerReading {
            mac: mac(*last),
            replies: [0; 2],
            gratuitous: [*times, 0],
            first: 1,
            last: 9_000_000_000,
        };
        VipReading {
            address: VIP.into(),
            requests: [requests, 0],
            replies: [0; 2],
            gratuitous: [announced.iter().map(|(_, times)| times).sum(), 0],
            other_requests: 0,
            announcers: announced.iter().map(announcer).collect(),
            clients: vec![ClientReading {
                address: [192, 0, 2, 9].into(),
                mac: mac(9),
                requests,
                times: vec![8_000_000_000, 7_000_000_000],
            }],
            owner: Owner {
                mac: tracer_common::vip::mac_number([2, 0, 0x100_u16.to_be()]),
                since: 6_500_000_000,
                last: 9_000_000_000,
                gratuitous: 9_000_000_000,
                former: 7,
                former_last: 5_000_000_000,
                changes: 3,
            },
        }
    }

    fn observed(start: Vec<VipReading>, now: u64) -> Vip {
        let table = |now, vips| VipTable { now, vips, ..VipTable::default() };
        let start = table(now, start);
        let middle = table(7_500_000_000, vec![reading(6, &[(1, 2)])]);
        let end = table(10_000_000_000, vec![reading(9, &[(1, 5)])]);
        let observation = VipObservation {
            readings: [&start, &middle, &end],
            hooks: Vec::new(),
            given: &[VIP.into()],
            interface_of: &|_| Some("eth0".to_owned()),
        };
        vips(observation).entries.remove(0)
    }

    #[test]
    fn a_window_counts_what_rose_in_it() {
        let vip = observed(vec![reading(4, &[(1, 1)])], 5_000_000_000);
        assert_eq!((vip.requests, vip.gratuitous, vip.given), (5, 4, true));
        let announcer = &vip.announcers[0];
        assert_eq!((announcer.gratuitous, announcer.early), (4, 1));
        assert_eq!((vip.clients[0].requests, vip.clients[0].asked.clone()), (5, vec![2.0, 3.0]));
        let owner = vip.owner.unwrap();
        assert_eq!((owner.since_age, owner.age, owner.gap), (3.5, 1.0, Some(1.5)));
        assert_eq!(vip.owner_changes, 0);
    }

    #[test]
    fn a_vip_that_came_in_the_window_counts_from_zero() {
        let vip = observed(Vec::new(), 5_000_000_000);
        assert_eq!((vip.requests, vip.gratuitous, vip.owner_changes), (9, 5, 3));
        assert_eq!(vip.announcers[0].early, 2);
    }

    #[test]
    fn who_has_not_asked_in_the_window_is_no_client_of_it() {
        assert_eq!(observed(vec![reading(9, &[])], 9_000_000_000).clients, []);
    }
}
