//! Packets that the kernel dropped, as events.

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::What;
use crate::{
    evidence::{Drop, DropFlow, DropPlace, Drops, has_ports},
    export::{json::DropJson, protocol},
    filter::Chosen,
};

/// What was dropped at one place, of one flow where that is known, since the last event of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The code of the finding that explains it, or `unexplained`.
    pub cause: &'static str,
    /// What was dropped, and where.
    pub drop: Drop,
}

/// What events of drops have in common that are told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    cause: &'static str,
    at: DropPlace,
    words: [Option<String>; 3],
}

/// Events of the drops of a window, with how many times each: one for each entry, or for those that
/// are chosen; and how many packets are in none of them, though they should be or might have to be.
/// `causes` are those of the entries, in their order.
#[must_use]
pub fn of_drops(
    drops: &Drops,
    causes: &[&'static str],
    chosen: Option<&Chosen<'_>>,
) -> Vec<(What, u64)> {
    let taken = |drop: &Drop| chosen.map_or(Some(true), |it| it.takes_drop(drop));
    let mut events = Vec::new();
    let (mut listed, mut unknown) = (0, 0);
    for (drop, cause) in drops.entries.iter().zip(causes) {
        listed += drop.packets;
        match taken(drop) {
            Some(true) => {
                let drop = Box::new(Dropped { cause, drop: drop.clone() });
                events.push((What::Drop { drop }, 1));
            }
            Some(false) => (),
            None => unknown += drop.packets,
        }
    }
    let unlisted = drops.packets.saturating_sub(listed) + drops.missed;
    let lost = [("drops", unlisted), ("drop-flows", unknown)].into_iter();
    events.extend(lost.filter(|it| it.1 > 0).map(|(source, count)| (What::Lost { source }, count)));
    events
}

// === impl Dropped ===

impl Dropped {
    /// Cause and place.
    pub(super) fn place(&self) -> Place {
        let Drop { reason, symbol, interface, .. } = &self.drop;
        let words = [reason, symbol, interface].map(Clone::clone);
        Place { cause: self.cause, at: self.drop.place, words }
    }

    /// The event as the first of several of the same place: whose packets they were is not told.
    pub(super) fn of_no_flow(&mut self) {
        (self.drop.flow, self.drop.outer) = (None, None);
    }

    /// One line for a person.
    pub(super) fn headline(&self) -> String {
        let packets = self.drop.packets;
        let plural = if packets == 1 { "" } else { "s" };
        let flow = self.drop.flow.as_ref().map(flow).unwrap_or_default();
        let outer = self.drop.outer.map(|it| format!(", from {} to {}", it.source, it.destination));
        let outer = outer.unwrap_or_default();
        format!("drop  {packets} packet{plural}{flow}{outer}  {}  {}", self.cause, self.at())
    }

    /// Why by the kernel's word, by what function, and where.
    fn at(&self) -> String {
        let Drop { reason, symbol, interface, place, .. } = &self.drop;
        let reason = reason.as_deref().map(str::to_owned);
        let symbol = symbol.as_deref().map(|it| format!("by {it}"));
        let place = match (place, interface) {
            (DropPlace::Pod, _) => Some("in a pod".to_owned()),
            (DropPlace::Node, interface) => interface.as_deref().map(|it| format!("at {it}")),
        };
        let words: Vec<String> = [reason, symbol, place].into_iter().flatten().collect();
        words.join(" ")
    }
}

/// The object of `check`.
impl Serialize for Dropped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        DropJson::of(&self.drop, self.cause).serialize(serializer)
    }
}

fn flow(flow: &DropFlow) -> String {
    let name = protocol(flow.protocol);
    // The numbers of other protocols are no ports.
    if has_ports(flow.protocol) {
        let source = SocketAddr::new(flow.source, flow.source_port);
        let destination = SocketAddr::new(flow.destination, flow.destination_port);
        return format!(" of {source} to {destination} ({name})");
    }
    format!(" of {} to {} ({name})", flow.source, flow.destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::testing::{dropped, dropped_to},
        evidence::DropOuter,
    };

    fn headline(drop: Drop) -> String {
        Dropped { cause: "unexplained", drop }.headline()
    }

    #[test]
    fn a_drop_is_told_in_one_line_with_all_that_is_known() {
        assert_eq!(
            headline(dropped()),
            "drop  10 packets of 10.244.1.9:40000 to 10.244.2.5:53 (udp)  unexplained  \
             NETFILTER_DROP by nft_do_chain at cni0"
        );
        let flow = dropped().flow.map(|it| DropFlow { protocol: 1, ..it });
        let outer = Some(DropOuter {
            source: "192.0.2.1".parse().unwrap(),
            destination: "192.0.2.2".parse().unwrap(),
        });
        let place = DropPlace::Pod;
        assert_eq!(
            headline(Drop { flow, outer, place, reason: None, ..dropped_to(53, 1) }),
            "drop  1 packet of 10.244.1.9 to 10.244.2.5 (icmp), from 192.0.2.1 to 192.0.2.2  \
             unexplained  by nft_do_chain in a pod"
        );
        let bare = Drop { flow: None, symbol: None, interface: None, ..dropped() };
        assert_eq!(headline(bare), "drop  10 packets  unexplained  NETFILTER_DROP");
    }

    #[test]
    fn every_drop_of_a_window_is_in_an_event_or_counted_as_lost() {
        let entries =
            vec![dropped_to(53, 7), Drop { flow: None, ..dropped_to(1, 4) }, dropped_to(80, 2)];
        let drops = Drops { entries, packets: 20, missed: 5, ..Drops::default() };
        let causes = ["fdb-entry-missing", "unexplained", "unexplained"];
        let told = |filter: Option<&str>| -> Vec<(&'static str, u64)> {
            let filter = filter.map(|text| text.parse().unwrap());
            let chosen = filter.as_ref().map(|it| Chosen::new(it, None, &[], &[]));
            let events = of_drops(&drops, &causes, chosen.as_ref()).into_iter();
            events
                .map(|(what, count)| match what {
                    What::Drop { drop } => (drop.cause, drop.drop.packets),
                    What::Lost { source } => (source, count),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        let (broken, rest) = (("fdb-entry-missing", 7), ("drops", 20 - 13 + 5));
        assert_eq!(told(None), [broken, ("unexplained", 4), ("unexplained", 2), rest]);
        assert_eq!(told(Some("port=53")), [broken, rest, ("drop-flows", 4)]);
    }

    #[test]
    fn ipv6_addresses_are_told_apart_from_ports() {
        let flow = dropped().flow.map(|it| DropFlow {
            source: "fd00::1".parse().unwrap(),
            destination: "fd00::2".parse().unwrap(),
            ..it
        });
        let told = headline(Drop { flow, ..dropped() });
        assert!(told.contains("of [fd00::1]:40000 to [fd00::2]:53 (udp)"), "{told}");
    }
}
