//! The tables, kept as the kernel tells of their changes, and dumped again where it does not.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracer::{
    evidence::{Link, Tables},
    netlink::{self, Action, Change, Followed, Follower, NetlinkError, Table},
};

/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Between two dumps that changes ask for.
const PAUSE: Duration = Duration::from_millis(500);
/// Everything is dumped again after this time: neighbours age without a word.
const RENEWAL: Duration = Duration::from_secs(60);

/// The tables as they are now.
pub(super) struct Live {
    follower: Follower,
    followed: Followed,
    /// When `followed` was dumped: its ages count from then.
    epoch: Instant,
    /// When to dump everything; sooner than [`RENEWAL`] after an overrun.
    all_due: Instant,
    /// When to dump the routes.
    routes_due: Option<Instant>,
    last_dump: Instant,
    in_step: bool,
    overruns: u64,
    changes: BTreeMap<(Table, Action), u64>,
}

/// What was heard in one go.
#[derive(Default)]
pub(super) struct News {
    /// What changed.
    pub(super) changes: Vec<(Change, Action)>,
    /// There was more to tell than there was room for.
    pub(super) overrun: bool,
}

impl Live {
    /// Begins to follow, then dumps everything.
    pub(super) fn start() -> Result<Self, NetlinkError> {
        let follower = Follower::open()?;
        let tables = netlink::dump_tables()?;
        let now = Instant::now();
        Ok(Self {
            follower,
            followed: Followed::new(tables),
            epoch: now,
            all_due: now + RENEWAL,
            routes_due: None,
            last_dump: now,
            in_step: true,
            overruns: 0,
            changes: BTreeMap::new(),
        })
    }

    /// The tables now, without answers.
    pub(super) fn tables(&self) -> Tables {
        let mut tables = self.followed.tables(self.epoch.elapsed().as_secs_f64());
        if let Err(error) = netlink::read_untold(&mut tables) {
            tracing::warn!("which devices forward was not read: {error}");
        }
        tables
    }

    /// The device with this number.
    pub(super) fn link(&self, index: u32) -> Option<&Link> {
        self.followed.link(index)
    }

    /// False from an overrun until everything was dumped again.
    pub(super) const fn is_in_step(&self) -> bool {
        self.in_step
    }

    /// How often the kernel had more to tell than there was room for.
    pub(super) const fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Changes so far.
    pub(super) const fn changes(&self) -> &BTreeMap<(Table, Action), u64> {
        &self.changes
    }

    /// When [`Live::catch_up`] has something to do.
    pub(super) fn due(&self) -> Instant {
        self.routes_due.map_or(self.all_due, |routes| routes.min(self.all_due))
    }

    /// Waits for notifications and applies them. Nothing is lost when the future is dropped.
    pub(super) async fn hear(&mut self) -> Result<News, NetlinkError> {
        let heard = self.follower.hear().await?;
        let elapsed = self.epoch.elapsed().as_secs_f64();
        let mut new = Vec::new();
        for change in heard.changes {
            if let Some(action) = self.followed.apply(change.clone(), elapsed) {
                new.push((change, action));
            }
        }
        self.count(&new);
        let now = Instant::now();
        let soon = (now + TOGETHER).max(self.last_dump + PAUSE);
        if heard.overrun {
            self.overruns += 1;
            self.in_step = false;
            self.all_due = self.all_due.min(soon);
        }
        if self.followed.routes_are_stale() && self.routes_due.is_none() {
            self.routes_due = Some(soon);
        }
        Ok(News { changes: new, overrun: heard.overrun })
    }

    /// Dumps what is due. Says what had changed without a word. A table that changes too fast to be
    /// dumped is tried again later.
    pub(super) fn catch_up(&mut self) -> Result<Vec<(Change, Action)>, NetlinkError> {
        let now = Instant::now();
        let dumped = if now >= self.all_due {
            self.dump_all(now)
        } else if self.routes_due.is_some_and(|due| now >= due) {
            self.dump_routes()
        } else {
            return Ok(Vec::new());
        };
        self.last_dump = Instant::now();
        match dumped {
            Err(NetlinkError::Interrupted) => {
                tracing::debug!("the tables change faster than they can be read");
                let again = self.last_dump + PAUSE;
                if now >= self.all_due {
                    self.all_due = again;
                }
                self.routes_due = self.routes_due.map(|_| again);
                Ok(Vec::new())
            }
            Ok(changes) => {
                self.count(&changes);
                Ok(changes)
            }
            Err(error) => Err(error),
        }
    }

    fn dump_all(&mut self, now: Instant) -> Result<Vec<(Change, Action)>, NetlinkError> {
        let mut tables = netlink::dump_tables()?;
        let rules = std::mem::take(&mut tables.rules);
        let routes = std::mem::take(&mut tables.routes);
        let mut followed = std::mem::replace(&mut self.followed, Followed::new(tables));
        let changes = followed.set_routes(rules.clone(), routes.clone());
        self.followed.set_routes(rules, routes);
        self.epoch = now;
        self.all_due = now + RENEWAL;
        self.routes_due = None;
        self.in_step = true;
        Ok(changes)
    }

    fn dump_routes(&mut self) -> Result<Vec<(Change, Action)>, NetlinkError> {
        let (rules, routes) = netlink::dump_routes()?;
        self.routes_due = None;
        Ok(self.followed.set_routes(rules, routes))
    }

    fn count(&mut self, changes: &[(Change, Action)]) {
        for (change, action) in changes {
            *self.changes.entry((change.table(), *action)).or_default() += 1;
        }
    }
}
