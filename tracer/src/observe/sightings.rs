//! What rare packets have shown in the window.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    evidence::{Sight, Sighting},
    kernel::Reading,
};

/// How many are listed.
const LISTED: usize = 1_000;

/// What was seen from `start` on, until `middle` and until `end`, most packets first, and how many
/// more there are. An entry that was taken out meanwhile and made anew has counted from zero.
pub(super) fn sightings(start: &Reading, middle: &Reading, end: &Reading) -> (Vec<Sighting>, u64) {
    let (before, until_middle) = (by_sight(start), by_sight(middle));
    let sighting = |(at, (interface, packets)): (&(u32, &Sight), &(&str, u64))| {
        let before = before.get(at).map_or(0, |(_, packets)| *packets);
        let since = |count: u64| if count < before { count } else { count - before };
        let packets = since(*packets);
        let early = until_middle.get(at).map_or(0, |(_, packets)| since(*packets)).min(packets);
        let what = at.1.clone();
        (packets > 0).then(|| Sighting { interface: (*interface).to_owned(), what, packets, early })
    };
    let mut sightings: Vec<Sighting> = by_sight(end).iter().filter_map(sighting).collect();
    sightings.sort_unstable_by(|a, b| {
        let order = |it: &Sighting| (Reverse(it.packets), it.interface.clone());
        order(a).cmp(&order(b)).then_with(|| a.what.cmp(&b.what))
    });
    let left_out = sightings.len().saturating_sub(LISTED);
    sightings.truncate(LISTED);
    (sightings, left_out as u64)
}

/// By device and sight: the device's name, and packets.
fn by_sight(reading: &Reading) -> HashMap<(u32, &Sight), (&str, u64)> {
    let mut counts = HashMap::new();
    for it in &reading.sights {
        counts.insert((it.ifindex, &it.what), (it.interface.as_str(), it.packets));
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::kernel::SightCount;

    fn other_vni(vni: u32) -> Sight {
        Sight::OtherVni { source: IpAddr::from([192, 0, 2, 1]), vni }
    }

    /// A reading of so many packets by device and VNI.
    fn reading(counts: &[(u32, u32, u64)]) -> Reading {
        let count = |(ifindex, vni, packets): &(u32, u32, u64)| SightCount {
            ifindex: *ifindex,
            interface: format!("eth{ifindex}"),
            what: other_vni(*vni),
            packets: *packets,
        };
        Reading { sights: counts.iter().map(count).collect(), ..Reading::default() }
    }

    fn seen(
        start: &[(u32, u32, u64)],
        middle: &[(u32, u32, u64)],
        end: &[(u32, u32, u64)],
    ) -> Vec<(String, Sight, u64, u64)> {
        let (sightings, left_out) = sightings(&reading(start), &reading(middle), &reading(end));
        assert_eq!(left_out as usize, end.len().saturating_sub(LISTED));
        sightings.into_iter().map(|it| (it.interface, it.what, it.packets, it.early)).collect()
    }

    #[test]
    fn only_what_was_seen_in_the_window_counts() {
        let found = seen(
            &[(2, 7, 10), (2, 8, 5)],
            &[(2, 7, 12), (2, 8, 5)],
            &[(2, 7, 20), (2, 8, 5), (2, 9, 3)],
        );
        let eth2 = || "eth2".to_owned();
        assert_eq!(found, [(eth2(), other_vni(7), 10, 2), (eth2(), other_vni(9), 3, 0)]);
    }

    #[test]
    fn one_sight_at_two_devices_is_two() {
        let found = seen(&[(2, 7, 1)], &[], &[(3, 7, 4), (2, 7, 5)]);
        let [eth2, eth3] = ["eth2", "eth3"].map(str::to_owned);
        assert_eq!(found, [(eth2, other_vni(7), 4, 0), (eth3, other_vni(7), 4, 0)]);
    }

    #[test]
    fn an_entry_made_anew_has_counted_from_zero() {
        let found = seen(&[(2, 7, 100)], &[(2, 7, 100)], &[(2, 7, 3)]);
        assert_eq!(found, [("eth2".to_owned(), other_vni(7), 3, 0)]);
    }

    #[test]
    fn the_most_frequent_thousand_are_listed() {
        let counts: Vec<_> = (0..1_200).map(|vni| (2, vni, 1 + u64::from(vni))).collect();
        let found = seen(&[], &[], &counts);
        assert_eq!((found.len(), found[0].2, found[999].2), (1_000, 1_200, 201));
    }
}
