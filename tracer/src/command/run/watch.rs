//! The loop: tables followed, devices attached to as they come, windows judged, questions answered.

mod judge;
mod node;
mod session;

use std::{
    collections::BTreeMap,
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
        event::{Event, TableChange, What},
        http::Question,
        life::Lives,
        parts::Parts,
        totals::Totals,
    },
    evidence::{Capability, Hook, Roles},
    export::prometheus::{Snapshot as Metrics, render},
    kernel::{self, Session, Standing},
    netlink::Change,
    statistics,
    topology::Topologies,
};

use self::{judge::Judged, node::Known};
use super::{
    super::{Failure, collect, drops::Dropping, not_started, observe, unobserved, usage},
    dropped::Dropped,
    live::{Live, News},
    start_failure,
    tell::Teller,
    window::{Snapshot, Window},
};
use crate::cli::RunArgs;

/// Changes of devices that come together are followed together.
const TOGETHER: Duration = Duration::from_millis(100);

/// Everything that the daemon holds.
pub(super) struct Watch<'a> {
    args: &'a RunArgs,
    known: Known,
    live: Live,
    session: Session,
    dropping: Dropping,
    dropped: Dropped,
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
    last_seen: BTreeMap<IpNet, Timestamp>,
    flows: usize,
    teller: Option<Teller>,
}

impl<'a> Watch<'a> {
    /// Reads the tables, attaches, and begins the first window.
    pub(super) async fn start(args: &'a RunArgs) -> Result<Self, Failure> {
        let mut known = Known::read(&args.node)?;
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
        let plan = kernel::plan(&topologies, &tables);
        let session = session::start(&plan, args.attach).map_err(start_failure)?;
        let dropping = session::start_dropping(&plan);
        let mut watch = Self {
            args,
            known,
            live,
            session,
            dropping,
            dropped: Dropped::new(args.top_flows),
            standing: None,
            reloaded: None,
            window: None,
            replan_due: None,
            lives: Lives::default(),
            judged: Judged::default(),
            parts,
            totals: Totals::default(),
            last_seen: BTreeMap::new(),
            flows: 0,
            teller: None,
        };
        let opening = watch.read().await.map_err(not_started)?;
        watch.window = Some(Window::begin(tables, roles, Some(opening), statistics::read()));
        Ok(watch)
    }

    /// From here on events are told.
    pub(super) fn tell_to(&mut self, teller: Teller) {
        self.teller = Some(teller);
    }

    /// Where programs are to be attached, and whether they are.
    pub(super) fn hooks(&self) -> &[Hook] {
        self.session.hooks()
    }

    /// Goes round until a signal comes, and says which.
    pub(super) async fn run(
        &mut self,
        stop: &mut observe::Stop,
        questions: &mut Receiver<Question>,
    ) -> anyhow::Result<&'static str> {
        self.standing = Some(Standing::read());
        loop {
            let next = Wakening::from_std(self.next_due());
            tokio::select! {
                // In this order: notifications may never cease.
                biased;
                signal = stop.signal() => return Ok(signal),
                Some(question) = questions.recv() => self.answer(question)?,
                () = sleep_until(next) => self.on_time().await?,
                news = self.live.hear() => self.take_in(news?),
            }
        }
    }

    /// Detaches, and says from how many hooks.
    pub(super) fn end(self) -> usize {
        self.session.hooks().iter().filter(|hook| hook.attached).count()
    }

    fn next_due(&self) -> Instant {
        let window = self.window.as_ref().map(Window::due);
        let held_back = self.teller.as_ref().and_then(Teller::due);
        let due = [window, self.replan_due, held_back].into_iter().flatten().min();
        due.map_or(self.live.due(), |due| due.min(self.live.due()))
    }

    async fn on_time(&mut self) -> anyhow::Result<()> {
        let changes = self.live.catch_up()?;
        self.take_in(News { changes, overrun: false });
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
            self.tell(What::Lost { source: "netlink" });
        }
        if changes.iter().any(|(change, _)| may_play_a_part(change)) {
            self.replan_due.get_or_insert(Instant::now() + TOGETHER);
        }
        if let Some(window) = &mut self.window {
            window.is_broken |= !self.live.is_in_step();
        }
        for (change, action) in changes {
            if self.parts.concern(&change) {
                let name_of = |index| {
                    let link = self.live.link(index).map(|link| link.name.clone());
                    link.or_else(|| self.parts.name(index))
                };
                let change = TableChange::of(&change, action, name_of);
                self.tell(What::TableChange(change));
            }
        }
    }

    /// Reads the maps, and takes over the totals.
    async fn read(&mut self) -> anyhow::Result<Snapshot> {
        let snapshot = Snapshot::take(&mut self.session, &mut self.dropping).await?;
        self.totals.read(self.session.peers(), &snapshot.moment.late);
        self.flows = snapshot.flows.len();
        self.totals.flows_present(self.flows);
        self.note_seen();
        Ok(snapshot)
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let snapshot = self.read().await?;
        match self.window.take() {
            Some(mut window) if !window.is_past_middle() => {
                window.pass_middle(snapshot);
                self.window = Some(window);
                Ok(())
            }
            Some(window) => self.turn(window, snapshot).await,
            None => self.begin_window(Some(snapshot), statistics::read()).await,
        }
    }

    fn answer(&mut self, question: Question) -> anyhow::Result<()> {
        // Who asked may have gone.
        match question {
            Question::Metrics(form, answer) => {
                let reading = self.session.read()?;
                self.totals.read(self.session.peers(), &reading);
                self.note_seen();
                let _ = answer.send(render(&self.metrics(), form)?);
            }
            Question::Ready(answer) => {
                let _ = answer.send(session::readiness(self.session.hooks()));
            }
            Question::Alive(answer) => {
                let _ = answer.send(());
            }
        }
        Ok(())
    }

    fn note_seen(&mut self) {
        let now = Timestamp::now();
        for peer in self.totals.heard_of() {
            self.last_seen.insert(peer, now);
        }
    }

    fn capabilities(&self) -> Vec<Capability> {
        let (hooks, drops) = (self.session.hooks(), self.dropping.capabilities());
        match &self.standing {
            Some(standing) => kernel::capabilities_beside(Ok(hooks), drops, standing),
            None => kernel::capabilities(Ok(hooks), drops),
        }
    }

    fn metrics(&self) -> Metrics {
        Metrics {
            node: self.known.node.clone(),
            node_ip: self.judged.node_ip,
            pod_cidrs: self.judged.pod_cidrs.clone(),
            sums: self.totals.sums(),
            peers: self.judged.peers.clone(),
            last_seen: self.last_seen.clone(),
            findings: self.lives.open().cloned().collect(),
            interfaces: self.judged.interfaces.clone(),
            flannel: self.known.flannel.clone(),
            capabilities: self.capabilities(),
            hooks: self.session.hooks().to_vec(),
            table_changes: self.live.changes().clone(),
            drops: self.dropping.is_on().then(|| self.dropped.totals().clone()),
            netlink_overruns: self.live.overruns(),
            events_lost: self.teller.as_ref().map_or(0, Teller::lost),
            flows: self.flows as u64,
            flow_capacity: u64::from(self.session.flow_capacity()),
            slots: self.session.peers().len() as u64,
            slot_capacity: self.session.room() as u64,
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("FLANNEL_TRACER_COMMIT").unwrap_or("unknown"),
        }
    }

    fn tell(&mut self, what: What) {
        let event = Event::new(Timestamp::now(), self.known.node.name.clone(), what);
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
