//! The programs, as the node changes under them.

use std::time::{Duration, Instant};

use tracer::{
    daemon::memory,
    evidence::{Family, Hook, Tables},
    kernel::{self, AttachMode, Plan, Session, StartError},
    topology::Topologies,
};

use super::{Dropping, Roles, Rounds, collect};

/// Peers that may join before the programs have to be loaded anew.
const ROOM: u32 = 256;
/// Between two loads: what changes all the time does not have the counters read all the time.
const RELOAD: Duration = Duration::from_secs(30);
/// The same where the table of DNS servers is full: whoever asks chooses these.
const ROOM_FOR_DNS: Duration = Duration::from_secs(3600);

/// Loads and attaches, with room for more peers.
pub(super) fn start(plan: &Plan, mode: AttachMode) -> Result<Session, StartError> {
    let session = Session::start_with_room(plan, mode, ROOM);
    memory::give_back();
    if let Some(line) = session.as_ref().ok().and_then(Session::unsampled) {
        tracing::warn!("not seen: {line}");
    }
    session
}

/// Begins to count drops, or says why that cannot be, unless it was `said` before.
pub(super) fn start_dropping(plan: &Plan, said: &[String]) -> Dropping {
    let dropping = Dropping::start(plan);
    for line in dropping.unseen().iter().filter(|line| !said.contains(line)) {
        tracing::warn!("not seen: {line}");
    }
    memory::give_back();
    dropping
}

/// Ready is who sees packets at every device that is there.
pub(super) fn readiness(hooks: &[Hook]) -> Result<(), String> {
    if hooks.is_empty() {
        return Err("no device of flannel is there yet".to_owned());
    }
    match hooks.iter().find(|hook| !hook.attached) {
        None => Ok(()),
        Some(hook) => Err(format!("not attached to {}: {}", hook.interface, hook.because)),
    }
}

impl Rounds<'_> {
    /// Devices have come or gone: follows them with the maps as they are.
    pub(super) fn replan(&mut self) -> anyhow::Result<()> {
        self.replan_due = None;
        let mut tables = self.live.tables();
        let roles = match collect::detect_roles(&mut tables, &self.known.intent) {
            Ok(Ok(roles)) => roles,
            Ok(Err(problem)) => {
                tracing::debug!("the devices' roles cannot be told: {problem}");
                return Ok(());
            }
            Err(failure) => return Err(failure.error),
        };
        self.follow_vips(&tables, &roles);
        let plan = self.plan(&tables, &roles);
        if self.session.update(&plan)? {
            tracing::info!("following the devices: {} hooks", self.session.hooks().len());
            if let Some(window) = &mut self.window {
                window.is_broken = true;
            }
        }
        Ok(())
    }

    /// Follows the node at the end of a window; true when counts of before and after are not to
    /// be compared. Programs whose configuration is another now are loaded anew.
    pub(super) fn follow(&mut self, tables: &Tables, roles: &Roles) -> anyhow::Result<bool> {
        let plan = self.plan(tables, roles);
        let is_within = |time| self.reloaded.is_some_and(|reloaded| reloaded.elapsed() < time);
        let is_early = is_within(RELOAD);
        let fits = self.session.fits(&plan);
        let has_room = !self.dns.is_crowded() || is_within(ROOM_FOR_DNS);
        if is_early || fits && has_room {
            let is_crowded = self.dropped.is_crowded() && !is_early;
            if is_crowded {
                tracing::info!("drops at too many places: counting them anew");
                self.drop_anew(&plan);
                self.reloaded = Some(Instant::now());
            }
            return Ok(self.session.update(&plan)? || is_crowded);
        }
        let why = if fits {
            "DNS servers are very many"
        } else {
            "networks, addresses or uplinks changed"
        };
        tracing::info!("{why}: loading the programs anew");
        let next = start(&plan, self.wanted.look.attach)?;
        // At once: what both programs see counts twice.
        let last = std::mem::replace(&mut self.session, next);
        let peers = last.peers().to_vec();
        let last = last.finish()?;
        if let Some(paired) = &last.dns {
            self.dns.read(self.began.elapsed().as_secs_f64(), paired);
        }
        self.dns.carry();
        self.totals.read(&peers, &last.totals);
        self.totals.carry();
        self.tell_samples(last.samples);
        if !self.dropping.fits(&plan) {
            self.drop_anew(&plan);
        }
        self.reloaded = Some(Instant::now());
        Ok(true)
    }

    /// Loads the drop program anew; what the last one counted is in the totals.
    fn drop_anew(&mut self, plan: &Plan) {
        let next = start_dropping(plan, &self.dropping.unseen());
        // Better what counts in little room, or by the former networks, than nothing.
        if self.dropping.is_on() && !next.is_on() {
            return;
        }
        self.count_last_drops();
        let last = std::mem::replace(&mut self.dropping, next);
        self.dropping.take_names_of(last);
        // What both have counted is in the totals already.
        let counted = self.dropping.read().unwrap_or_default();
        self.dropped.begin_at(counted);
    }

    /// While flannel's device is away the programs keep what it was like.
    fn plan(&mut self, tables: &Tables, roles: &Roles) -> Plan {
        let topologies = Topologies::from_parts(Some(tables), &self.known.intent, roles, None);
        self.parts.take_over(&topologies);
        let mut plan = kernel::plan(&topologies, tables);
        plan.sample = self.wanted.samples.sample;
        let last = self.session.config();
        plan.config.set_dns_timeout(self.wanted.look.dns_timeout_milliseconds());
        if topologies.overlay(Family::V4).is_none() {
            plan.config.v4 = last.v4;
        }
        if topologies.overlay(Family::V6).is_none() {
            plan.config.v6 = last.v6;
        }
        plan
    }
}
