//! VIPs at the end of a window: who owns one now that did not before.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::{SignedDuration, Timestamp};
use tracer::{
    daemon::event::{Event, VipChange, What},
    evidence::{Evidence, MacAddress, Roles, Tables, Vip},
    export::{json::owner_node, prometheus::VipMetrics},
};

use super::{super::vips::Around, Rounds};

/// What was told of a VIP last.
#[derive(Default)]
pub(super) struct Owners(BTreeMap<IpAddr, MacAddress>);

impl Rounds<'_> {
    /// Counts what nodes have announced since the last window, and follows the devices.
    pub(super) fn follow_vips(&mut self, tables: &Tables, roles: &Roles) {
        let around = Around { tables, intent: &self.known.intent, roles };
        self.answering.learn(around);
        self.answering.follow(around);
    }

    /// Tells of VIPs that were announced for the first time, or by another than before.
    pub(super) fn tell_of_vips(&mut self, evidence: &Evidence) {
        let entries = evidence.vips.iter().flat_map(|vips| &vips.entries);
        for vip in entries {
            let Some((time, change)) = self.owners.turn(evidence, vip) else { continue };
            let node = self.known.node.name.clone();
            let event = Event::new(time, node, What::Vip { vip: Box::new(change) });
            if let Some(teller) = &mut self.teller {
                teller.tell(event, None);
            }
        }
    }

    /// The VIPs as they are exported.
    pub(super) fn vip_metrics(&self) -> Vec<VipMetrics> {
        let table = self.vips.as_ref();
        let of = |it| VipMetrics::new(it, |mac| self.own_macs.contains(&mac));
        table.into_iter().flat_map(|table| &table.vips).map(of).collect()
    }
}

impl Owners {
    /// What is new of a VIP, and since when.
    fn turn(&mut self, evidence: &Evidence, vip: &Vip) -> Option<(Timestamp, VipChange)> {
        let owner = vip.owner.as_ref()?;
        let before = self.0.insert(vip.address, owner.mac);
        if before == Some(owner.mac) {
            return None;
        }
        let change = VipChange {
            address: vip.address,
            interface: vip.interface.clone(),
            owner_mac: owner.mac,
            owner_node: owner_node(evidence, owner.mac),
            former_owner_mac: before.and(owner.former),
            gap_seconds: before.and(owner.gap),
        };
        let since_start = evidence.window.seconds - owner.since_age;
        let since_start = SignedDuration::try_from_secs_f64(since_start).unwrap_or_default();
        let time = evidence.window.start.checked_add(since_start);
        Some((time.unwrap_or(evidence.window.start), change))
    }
}

/// The MACs of this node.
pub(super) fn own_macs(tables: &Tables) -> Vec<MacAddress> {
    tables.links.iter().filter_map(|link| link.mac).collect()
}
