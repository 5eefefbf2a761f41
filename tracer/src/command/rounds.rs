//! One window after the other, for `run` and for `watch`: tables followed, devices attached to as
//! they come, windows judged, questions answered, and what happens told on stdout.

mod answer;
mod dropped;
mod drops;
mod judge;
mod live;
mod node;
mod samples;
mod services;
mod session;
mod tell;
mod vips;
mod window;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use jiff::Timestamp;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant as Wakening, sleep_until},
};
use tracer::{
    daemon::{
        dns::DnsTotals,
        event::{Event, TableChange, What},
        http::Question,
        life::Lives,
        memory,
        parts::Parts,
        totals::Totals,
    },
    evidence::{MacAddress, Roles},
    filter::FlowFilter,
    kernel::{self, FlowName, Plan, Session, Standing, StartError, VipTable},
    netlink::Change,
    process, statistics,
    topology::Topologies,
};

pub(super) use self::tell::{Reader, Teller};
use self::{
    dropped::DroppedSoFar,
    judge::Judged,
    live::{Live, News},
    node::Known,
    samples::Sampling,
    vips::Owners,
    window::{Snapshot, Window},
};
use super::{
    Failure, Status, clock, collect,
    drops::Dropping,
    not_started, observe,
    proxy_rules::ProxyRules,
    services::Services,
    unobserved, usage,
    vips::{Answering, Around},
};
use crate::cli::{LookArgs, SampleArgs};

/// Changes of devices that come together are followed together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How long open requests and unread events may hold up the end.
pub(super) const DRAIN: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) look: &'a LookArgs,
    /// Flows that have a series of their own.
    pub(super) top_flows: usize,
    /// Which packets are shown.
    pub(super) samples: SampleArgs,
    pub(super) told: Told<'a>,
}

/// What is told beside findings.
#[derive(Clone, Copy)]
pub(super) enum Told<'a> {
    /// Changes of the tables; drops are in the metrics.
    Changes,
    /// Drops; of some flows only, and findings that may concern these, where a filter is given.
    Drops(Option<&'a FlowFilter>),
}

/// Everything that is kept from window to window.
pub(super) struct Rounds<'a> {
    wanted: Wanted<'a>,
    known: Known,
    live: Live,
    session: Session,
    dropping: Dropping,
    dropped: DroppedSoFar,
    answering: Answering,
    /// What kube-proxy has for DNS servers.
    dns_rules: ProxyRules,
    /// The last reading of the VIPs.
    vips: Option<VipTable>,
    owners: Owners,
    own_macs: Vec<MacAddress>,
    /// What of the tracer's features is read again only now and then.
    standing: Option<Standing>,
    /// When the programs were loaded anew.
    reloaded: Option<Instant>,
    window: Option<Window>,
    replan_due: Option<Instant>,
    lives: Lives,
    judged: Judged,
    parts: Parts,
    totals: Totals,
    dns: DnsTotals,
    began: Instant,
    last_seen: BTreeMap<IpNet, Timestamp>,
    flows: usize,
    sampling: Sampling,
    services: Services,
    teller: Option<Teller>,
}

/// Runs on this thread, on a kernel that can do it.
pub(super) fn block_on(
    future: impl Future<Output = Result<Status, Failure>>,
) -> Result<Status, Failure> {
    kernel::require_kernel(&process::kernel_release()).map_err(unobserved)?;
    let runtime = clock().map_err(not_started)?;
    runtime.block_on(future)
}

/// Without privileges or with a kernel that refuses, 2; else 1.
fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::Refused(_) => unobserved(error),
        StartError::Other(error) => not_started(error),
    }
}

// === impl Rounds ===

impl<'a> Rounds<'a> {
    /// Reads the tables, attaches, and begins the first window.
    pub(super) async fn start(wanted: Wanted<'a>) -> Result<Self, Failure> {
        let mut known = Known::read(&wanted.look.node)?;
        observe::remove_leftovers(&mut known.unseen);
        let live = Live::start().map_err(not_started)?;
        let mut tables = live.tables();
        let roles = match collect::detect_roles(&mut tables, &known.intent)? {
            Ok(roles) => roles,
            Err(problem) if problem.exit_status() == 3 => return Err(usage(problem)),
            Err(problem) if problem.may_pass() => {
                tracing::warn!("{problem}; waiting for it to come");
                Roles::default()
            }
            Err(problem) => return Err(unobserved(problem)),
        };
        let topologies = Topologies::from_parts(Some(&tables), &known.intent, &roles, None);
        let mut parts = Parts::default();
        parts.take_over(&topologies);
        let mut plan = Plan { sample: wanted.samples.sample, ..kernel::plan(&topologies, &tables) };
        plan.config.set_dns_timeout(wanted.look.dns_timeout_milliseconds());
        let session = session::start(&plan, wanted.look.attach).map_err(start_failure)?;
        let dropping = session::start_dropping(&plan, &[]);
        let around = Around { tables: &tables, intent: &known.intent, roles: &roles };
        let answering = Answering::start(around, wanted.look.attach);
        for line in session.blind_to_dns().into_iter().chain(answering.refused()) {
            tracing::warn!("not seen: {line}");
        }
        memory::give_back();
        let own_macs = vips::own_macs(&tables);
        let mut rounds = Self {
            wanted,
            known,
            live,
            session,
            dropping,
            dropped: DroppedSoFar::new(wanted.top_flows),
            answering,
            dns_rules: ProxyRules::default(),
            vips: None,
            owners: Owners::default(),
            own_macs,
            standing: None,
            reloaded: None,
            window: None,
            replan_due: None,
            lives: Lives::default(),
            judged: Judged::default(),
            parts,
            totals: Totals::default(),
            dns: DnsTotals::default(),
            began: Instant::now(),
            last_seen: BTreeMap::new(),
            flows: 0,
            sampling: Sampling::new(wanted.samples.sample.is_some()),
            services: Services::default(),
            teller: None,
        };
        let opening = rounds.read(&[]).await.map_err(not_started)?;
        rounds.window = Some(Window::begin(tables, roles, Some(opening), statistics::read()));
        Ok(rounds)
    }

    /// From here on events are told.
    pub(super) fn tell_to(&mut self, teller: Teller) {
        self.teller = Some(teller);
    }

    /// Says where programs are to be attached, and whether they are.
    pub(super) fn say_where(&self) {
        for hook in self.session.hooks() {
            let (interface, direction) = (&hook.interface, hook.direction);
            tracing::info!("{interface} {direction:?}: {}", hook.because);
        }
    }

    /// Goes round until something ends it, and says what.
    pub(super) async fn run(
        &mut self,
        until: impl Future<Output = anyhow::Result<&'static str>>,
        questions: &mut Receiver<Question>,
    ) -> anyhow::Result<&'static str> {
        let mut until = pin!(until);
        self.standing = Some(Standing::read());
        loop {
            let next = Wakening::from_std(self.next_due());
            tokio::select! {
                // In this order: notifications may never cease.
                biased;
                end = &mut until => return end,
                Some(question) = questions.recv() => self.answer(question)?,
                () = sleep_until(next) => self.on_time().await?,
                news = self.live.hear() => self.take_in(news?),
            }
        }
    }

    /// Tells what is still to be told, detaches, and says from how many hooks.
    pub(super) fn end(mut self) -> usize {
        self.count_last_drops();
        self.take_samples();
        if let Some(teller) = self.teller.take() {
            teller.end();
        }
        self.session.hooks().iter().filter(|hook| hook.attached).count()
    }

    fn next_due(&self) -> Instant {
        let window = self.window.as_ref().map(Window::due);
        let held_back = self.teller.as_ref().and_then(Teller::due);
        let due =
            [window, self.replan_due, self.sampling.due, held_back].into_iter().flatten().min();
        due.map_or(self.live.due(), |due| due.min(self.live.due()))
    }

    async fn on_time(&mut self) -> anyhow::Result<()> {
        let changes = self.live.catch_up()?;
        self.take_in(News { changes, overrun: false });
        self.take_due_samples();
        let now = Instant::now();
        if self.replan_due.is_some_and(|due| due <= now) {
            self.replan()?;
        }
        if self.window.as_ref().is_none_or(|window| window.due() <= now) {
            self.step().await?;
        }
        if let Some(teller) = &mut self.teller {
            teller.turn(Timestamp::now());
        }
        Ok(())
    }

    /// Tells of changes that concern flannel; those of devices have the hooks planned anew.
    fn take_in(&mut self, news: News) {
        let News { changes, overrun } = news;
        if overrun {
            self.tell(What::Lost { source: "netlink" }, 1);
        }
        if changes.iter().any(|(change, _)| may_play_a_part(change)) {
            self.replan_due.get_or_insert(Instant::now() + TOGETHER);
        }
        if let Some(window) = &mut self.window {
            window.is_broken |= !self.live.is_in_step();
        }
        let is_told = matches!(self.wanted.told, Told::Changes);
        for (change, action) in changes {
            if is_told && self.parts.concern(&change) {
                let name_of = |index| {
                    let link = self.live.link(index).map(|link| link.name.clone());
                    link.or_else(|| self.parts.name(index))
                };
                let change = TableChange::of(&change, action, name_of);
                self.tell(What::TableChange(change), 1);
            }
        }
    }

    /// Reads the maps, and takes over the totals.
    async fn read(&mut self, followed: &[FlowName]) -> anyhow::Result<Snapshot> {
        let take =
            Snapshot::take(&mut self.session, &mut self.dropping, &mut self.answering, followed);
        let snapshot = take.await?;
        self.take_over(&snapshot);
        self.totals.flows_present(self.flows);
        self.tell_lost_samples();
        Ok(snapshot)
    }

    fn take_over(&mut self, snapshot: &Snapshot) {
        self.vips.clone_from(&snapshot.vips);
        self.totals.read(self.session.peers(), &snapshot.moment.late);
        if let Some(paired) = &snapshot.paired {
            self.dns.read(self.began.elapsed().as_secs_f64(), paired);
        }
        self.flows = snapshot.flows.len();
        self.note_seen();
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        // Before the reading with which the next window begins: in it what is made anew counts from zero.
        if self.window.as_ref().is_some_and(Window::is_past_middle) {
            self.session.forget_idle_sights()?;
        }
        match self.window.take() {
            Some(window) if !window.is_past_middle() => {
                let middle = self.read_in_middle(&window).await?;
                let window = self.window.insert(window);
                window.pass_middle(middle);
                Ok(())
            }
            Some(window) => {
                let end = self.read_at_end(&window).await?;
                self.turn(window, end).await
            }
            None => {
                let snapshot = self.read(&[]).await?;
                self.begin_window(Some(snapshot), statistics::read()).await
            }
        }
    }

    fn note_seen(&mut self) {
        let now = Timestamp::now();
        for peer in self.totals.heard_of() {
            self.last_seen.insert(peer, now);
        }
    }

    /// Tells of something that happened `count` times.
    fn tell(&mut self, what: What, count: u64) {
        let event = Event::new(Timestamp::now(), self.known.node.name.clone(), what).times(count);
        if let Some(teller) = &mut self.teller {
            teller.tell(event, None);
        }
    }
}

/// Whether the hooks may have to be planned anew: a device has come, gone, or is another now. Pods
/// come and go all day, and what their ports do is nothing to the hooks.
fn may_play_a_part(change: &Change) -> bool {
    match change {
        Change::Link(link) => link.kind.as_deref() != Some("veth") || link.master.is_none(),
        Change::LinkGone(_) => true,
        _ => false,
    }
}
