//! One window after the other: the end of one is the start of the next.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracer::{
    evidence::{Dns, Roles, Tables, Traffic},
    kernel::{DnsReading, DropReading, FlowName, FlowReading, Session, VipTable},
    observe::{Asked, Moment, Observation, dns, traffic},
    statistics::Reading,
};

use super::super::{
    drops::Dropping,
    observe::{APART, all, moment},
    vips::Answering,
};

/// How long a window is while reading it costs next to nothing.
const SHORTEST: Duration = Duration::from_secs(5);
/// How long it becomes at most.
const LONGEST: Duration = Duration::from_secs(60);
/// A window lasts so many times as long as reading it takes: with two readings of the flows in it
/// 2 % of a processor.
const COST: u32 = 100;

/// What is known of a window so far.
pub(super) struct Window {
    /// When it began.
    pub(super) start: Timestamp,
    /// The tables when it began.
    pub(super) tables: Tables,
    /// The roles by these tables.
    pub(super) roles: Roles,
    /// A program was attached or detached meanwhile, or the tables were out of step: counts of
    /// different stages are not to be compared.
    pub(super) is_broken: bool,
    /// The kernel's counters when it began.
    pub(super) counters: Reading,
    started: Instant,
    length: Duration,
    opening: Option<Snapshot>,
    middle: Option<Snapshot>,
    is_past_middle: bool,
}

/// The maps at one moment.
pub(super) struct Snapshot {
    pub(super) moment: Moment,
    pub(super) flows: Vec<FlowReading>,
    /// Those of the flows that are followed to a service's pod, read before the counters.
    followed: Vec<FlowReading>,
    /// What the table of connections said.
    pub(super) asked: Asked,
    /// What was dropped; `None` when that is not known.
    pub(super) dropped: Option<DropReading>,
    /// What was seen of VIPs; `None` when that is not known.
    pub(super) vips: Option<VipTable>,
    /// What became of DNS queries; `None` when they are not paired.
    pub(super) paired: Option<DnsReading>,
    took: Duration,
}

/// What was seen between the readings of a window.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) traffic: Option<Traffic>,
    pub(super) dropped: Option<[DropReading; 3]>,
    pub(super) vips: Option<[VipTable; 3]>,
    pub(super) dns: Option<Dns>,
}

impl Snapshot {
    /// Reads everything. It takes a little longer than two readings are apart.
    pub(super) async fn take(
        session: &mut Session,
        dropping: &mut Dropping,
        answering: &mut Answering,
        followed: &[FlowName],
    ) -> anyhow::Result<Self> {
        let followed = session.read_flows_of(followed)?;
        let moment = moment(session).await?;
        let begin = Instant::now();
        let flows = session.read_flows()?;
        // Without the drops: their tables are small, and names of functions are sought once.
        let took = begin.elapsed();
        let asked = Asked::default();
        let paired = session.read_dns()?;
        let (dropped, vips) = (dropping.read(), answering.read());
        Ok(Self { moment, flows, followed, asked, dropped, vips, paired, took })
    }

    /// Reads everything in the middle of a window, the flows first.
    pub(super) async fn take_in_middle(
        session: &mut Session,
        dropping: &mut Dropping,
        answering: &mut Answering,
    ) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let flows = session.read_flows()?;
        let took = begin.elapsed();
        let moment = moment(session).await?;
        let (followed, asked) = (Vec::new(), Asked::default());
        let paired = session.read_dns()?;
        let (dropped, vips) = (dropping.read(), answering.read());
        Ok(Self { moment, flows, followed, asked, dropped, vips, paired, took })
    }
}

impl Window {
    /// Begins where `opening` was taken; without one only the tables are observed.
    pub(super) fn begin(
        tables: Tables,
        roles: Roles,
        opening: Option<Snapshot>,
        counters: Reading,
    ) -> Self {
        let took = opening.as_ref().map_or(Duration::ZERO, |it| it.took);
        Self {
            start: Timestamp::now(),
            tables,
            roles,
            is_broken: false,
            counters,
            started: Instant::now(),
            length: (took * COST).clamp(SHORTEST, LONGEST),
            opening,
            middle: None,
            is_past_middle: false,
        }
    }

    /// When the maps are to be read next.
    pub(super) fn due(&self) -> Instant {
        if self.is_past_middle {
            self.started + self.length - APART
        } else {
            self.started + self.length / 2
        }
    }

    /// Whether the next reading is its last.
    pub(super) const fn is_past_middle(&self) -> bool {
        self.is_past_middle
    }

    /// Its length so far, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// What is to be followed to its end.
    pub(super) fn followed(&self) -> Vec<FlowName> {
        self.middle.as_ref().map(|middle| middle.asked.known()).unwrap_or_default()
    }

    /// What the table of connections said in its middle.
    pub(super) fn asked(&self) -> Asked {
        self.middle.as_ref().map(|middle| middle.asked.clone()).unwrap_or_default()
    }

    /// The flows when it began.
    pub(super) fn first_flows(&self) -> &[FlowReading] {
        self.opening.as_ref().map_or(&[], |opening| &opening.flows)
    }

    /// Takes over the reading in the middle.
    pub(super) fn pass_middle(&mut self, middle: Snapshot) {
        self.middle = Some(middle);
        self.is_past_middle = true;
    }

    /// What the stages counted, and what was dropped. Without all three readings, or in a broken
    /// window, nothing is said of packets.
    pub(super) fn end(self, session: &Session, own: &[ipnet::IpNet], end: &Snapshot) -> Seen {
        let (Some(opening), Some(middle), false) = (self.opening, self.middle, self.is_broken)
        else {
            return Seen::default();
        };
        let dropped = all([opening.dropped, middle.dropped, end.dropped.clone()]);
        let vips = all([opening.vips, middle.vips, end.vips.clone()]);
        let paired = opening.paired.zip(end.paired.as_ref());
        let traffic = traffic(&Observation {
            peers: session.peers().to_vec(),
            own: own.to_vec(),
            start: opening.moment,
            middle: middle.moment,
            end: end.moment.clone(),
            flows_start: opening.flows,
            flows_middle: middle.flows,
            flows_end: end.flows.clone(),
            flows_followed: end.followed.clone(),
            asked_middle: middle.asked,
            asked_end: end.asked.clone(),
        });
        let timeout = Duration::from_nanos(session.config().dns_timeout());
        let dns = paired.map(|(start, end)| dns(&start, end, timeout, &traffic.flows));
        Seen { traffic: Some(traffic), dropped, vips, dns }
    }
}
