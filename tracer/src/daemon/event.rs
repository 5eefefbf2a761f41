//! Events of `run` and `watch`, in the form of the contract `flannel-tracer/event/v1`, and how many
//! of them are told a second.

mod dns;
mod dropped;
mod sample;
mod throttle;
mod vip;

use jiff::Timestamp;
use serde::Serialize;

pub use self::{
    dns::{DnsTimeout, of_dns},
    dropped::{Dropped, of_drops},
    sample::{Packet, Sampled},
    throttle::Throttle,
    vip::VipChange,
};
use crate::{
    diagnose::Finding,
    netlink::{Action, Change},
};

/// Name and version of the format.
pub const SCHEMA: &str = "flannel-tracer/event/v1";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    schema: &'static str,
    /// When.
    pub time: Timestamp,
    /// On which node.
    pub node: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// How many events this line stands for; more than one when they were too many to be told.
    pub count: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// A finding was confirmed, or still holds some time after it was told last.
    FindingOpened {
        /// The object of `check`.
        finding: Box<Finding>,
        /// It is told again because it still holds.
        held: bool,
    },
    /// A finding holds no more.
    FindingClosed {
        /// The object of `check`, as it was seen last.
        finding: Box<Finding>,
        /// Why it is closed.
        reason: Reason,
    },
    /// An entry of the kernel's tables that flannel depends on.
    TableChange(TableChange),
    /// The kernel dropped packets.
    Drop {
        /// The object of `check`, for what was dropped since the last event of the same cause, flow
        /// and place.
        drop: Box<Dropped>,
    },
    /// A VIP was claimed for the first time since the daemon began, or by another than before.
    Vip {
        /// Who claims it.
        vip: Box<VipChange>,
    },
    /// DNS queries were not answered in time.
    DnsTimeout(DnsTimeout),
    /// The beginning of a packet: one in so many of its stage, or one of the first of its kind.
    Sample {
        /// Where it was seen, and what it is.
        sample: Box<Sampled>,
    },
    /// Something could not be told.
    Lost {
        /// Where: `netlink` (notifications; the tables were read again), `events`, `drops` (packets
        /// that were dropped and are in no event), `samples` (for which the kernel had no room) or `drop-flows` (packets that were dropped, nobody
        /// knows of which flow, where only some flows are asked for).
        source: &'static str,
    },
}

/// Why a finding was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its proof is gone.
    Gone,
}

/// A change of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// `link`, `address`, `rule`, `route`, `neighbour` or `fdb`.
    pub table: &'static str,
    /// `added`, `changed` or `deleted`.
    pub action: &'static str,
    /// The device that it concerns.
    pub interface: Option<String>,
    /// The entry, in the words of iproute2; `None` when the line stands for several.
    pub entry: Option<String>,
}

// === impl Event ===

impl Event {
    /// An event that stands for itself.
    #[must_use]
    pub const fn new(time: Timestamp, node: String, what: What) -> Self {
        Self { schema: SCHEMA, time, node, what, count: 1 }
    }

    /// The same for so many of its kind.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// Never in practice: every part can be written as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// One line for a person, without the details of a finding.
    #[must_use]
    pub fn headline(&self) -> String {
        let time = self.time.strftime("%Y-%m-%d %H:%M:%S UTC");
        let times = if self.count > 1 { format!(" ({} times)", self.count) } else { String::new() };
        format!("{time}  {}{times}", self.what.headline())
    }
}

// === impl What ===

impl What {
    fn headline(&self) -> String {
        match self {
            Self::FindingOpened { finding, held } => {
                let word = if *held { "still" } else { "opened" };
                format!("{word}  {} of {}", finding.code, finding.subject.key)
            }
            Self::FindingClosed { finding, .. } => {
                format!("closed  {} of {}", finding.code, finding.subject.key)
            }
            Self::TableChange(change) => change.headline(),
            Self::Drop { drop } => drop.headline(),
            Self::Vip { vip } => vip.headline(),
            Self::DnsTimeout(timeout) => timeout.headline(),
            Self::Sample { sample } => sample.headline(),
            Self::Lost { source } => format!("lost  {source}"),
        }
    }
}

// === impl TableChange ===

impl TableChange {
    /// The change in words, from the tables as they are after it.
    #[must_use]
    pub fn of(change: &Change, action: Action, name_of: impl Fn(u32) -> Option<String>) -> Self {
        let interface = change.device().and_then(name_of);
        let entry = change.words(interface.as_deref());
        Self { table: change.table().name(), action: action.name(), interface, entry: Some(entry) }
    }

    fn headline(&self) -> String {
        let interface = self.interface.as_deref().map(|name| format!(" dev {name}"));
        let entry = self.entry.clone().or(interface).unwrap_or_default();
        format!("{} {}  {}", self.table, self.action, entry.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::{
            diagnose,
            testing::{OVERLAY, Pass, Plan, dropped},
        },
        evidence::{Drops, Evidence, NextHop},
        export::json,
    };

    fn time() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn evidence() -> Evidence {
        Plan::of(2, Pass::Tables).evidence()
    }

    #[test]
    fn a_finding_is_the_object_of_check() {
        let mut evidence = evidence();
        evidence.tables.as_mut().unwrap().fdb.clear();
        let finding = diagnose(&evidence).findings.remove(0);
        let what = What::FindingClosed { finding: finding.clone().into(), reason: Reason::Gone };
        let json = Event::new(time(), "n1".to_owned(), what).json().unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!((&json["kind"], &json["reason"]), (&"finding-closed".into(), &"gone".into()));
        assert_eq!(json["finding"], serde_json::to_value(&finding).unwrap());
        assert_eq!((&json["time"], &json["node"]), (&"2026-01-01T12:00:00Z".into(), &"n1".into()));
    }

    #[test]
    fn a_drop_is_the_object_of_check() {
        let mut evidence = evidence();
        let entries = vec![dropped()];
        evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
        let check = json::render(&diagnose(&evidence), &evidence, None).unwrap();
        let check: serde_json::Value = serde_json::from_str(&check).unwrap();
        let drop = Box::new(Dropped { cause: "unexplained", drop: dropped() });
        let json = Event::new(time(), "n1".to_owned(), What::Drop { drop }).json().unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["schema"], &json["kind"]), (&SCHEMA.into(), &"drop".into()));
        assert_eq!(json["drop"], check["drops"][0]);
        assert_eq!(json["drop"]["packets"], 10);
    }

    #[test]
    fn a_table_change_is_told_in_the_words_of_iproute2() {
        let tables = evidence().tables.unwrap();
        let via_overlay = |hop: &NextHop| hop.gateway.is_some() && hop.ifindex == Some(OVERLAY);
        let route = tables.routes.iter().find(|it| it.next_hops.iter().any(via_overlay));
        let change = Change::RouteGone(route.unwrap().clone());
        let name_of = |index| tables.link(index).map(|link| link.name.clone());
        let told = TableChange::of(&change, Action::Deleted, name_of);
        assert_eq!((told.table, told.action), ("route", "deleted"));
        let entry = told.entry.clone().unwrap();
        assert!(entry.contains("dev flannel.1") && entry.contains("via 10.244."), "{entry}");
        let event = Event::new(time(), "n1".to_owned(), What::TableChange(told));
        assert!(event.headline().starts_with("2026-01-01 12:00:00 UTC  route deleted  10.244."));
    }
}
