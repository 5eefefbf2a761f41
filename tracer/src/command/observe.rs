//! The window: programs attached, the maps read at its start, middle and end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracer::{
    evidence::Evidence,
    kernel::{self, AttachMode, DropReading, Plan, Session, StartError},
    netlink,
    observe::{Asked, Moment, Observation, questions, traffic},
};

use super::{
    drops::{Dropping, overlays_of},
    services::{Services, of_a_check},
};

/// Between the two readings of one moment: longer than a packet can be between two hooks, softirq
/// delays on a busy node included.
pub(super) const APART: Duration = Duration::from_millis(100);

/// Watches the node for `duration` and fills in what was seen. Whatever goes wrong is said in the
/// evidence, whose tables are judged all the same. SIGINT, SIGTERM and SIGHUP end the window early.
pub(super) fn observe(evidence: &mut Evidence, plan: &Plan, duration: Duration, mode: AttachMode) {
    evidence.unseen.extend(plan.unseen.iter().cloned());
    let mut dropping = Dropping::not_started("the packets are not observed");
    let seen = kernel::require_kernel(&evidence.node.kernel)
        .map_err(|error| StartError::Other(error.into()))
        .and_then(|()| watch(evidence, plan, &mut dropping, duration, mode));
    let hooks = seen.as_ref().map(|()| evidence.hooks.as_slice());
    evidence.capabilities = kernel::capabilities(hooks, dropping.capabilities());
    if let Err(error) = seen {
        evidence.unseen.push(format!("packets: {error}"));
    }
    dropping.tell_unseen(&mut evidence.unseen);
}

fn watch(
    evidence: &mut Evidence,
    plan: &Plan,
    dropping: &mut Dropping,
    duration: Duration,
    mode: AttachMode,
) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the clock")?;
    // Before anything is attached: from here on a signal cannot leave a filter behind.
    let stop = runtime.block_on(async { Stop::new() }).context("listening for signals")?;
    remove_leftovers(&mut evidence.unseen);
    let session = Session::start(plan, mode)?;
    evidence.hooks = session.hooks().to_vec();
    evidence.unseen.extend(session.blind_to_rare());
    *dropping = Dropping::start(plan);
    evidence.window.start = Timestamp::now();
    let started = Instant::now();
    let mut services = Services::default();
    let seen = window(session, dropping, &mut services, stop, (plan, duration));
    let seen = runtime.block_on(seen);
    services.tell_unseen(&mut evidence.unseen);
    evidence.window.seconds = started.elapsed().as_secs_f64();
    let (observation, dropped) = seen.context("reading the programs' counters")?;
    evidence.traffic = Some(traffic(&observation));
    let overlays = overlays_of(evidence);
    evidence.drops = dropped.and_then(|readings| dropping.between(&readings, &overlays));
    Ok(())
}

/// What a killed tracer left would count nothing and cost every packet a little.
pub(super) fn remove_leftovers(unseen: &mut Vec<String>) {
    match netlink::traffic_control::remove_leftovers() {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => tracing::info!("removed {} filters of a killed tracer", removed.len()),
        Err(error) => unseen.push(format!("filters of a killed tracer: {error:#}")),
    }
}

async fn window(
    mut session: Session,
    dropping: &mut Dropping,
    services: &mut Services,
    mut stop: Stop,
    (plan, duration): (&Plan, Duration),
) -> anyhow::Result<(Observation, Option<[DropReading; 3]>)> {
    let dropped_start = dropping.read();
    let start = moment(&mut session).await?;
    let flows_start = session.read_flows()?;
    tracing::info!("counting from now on, at {} hooks", session.hooks().len());
    stop.sleep(duration / 2).await;
    let flows_middle = session.read_flows()?;
    let middle = moment(&mut session).await?;
    let mut ask = |flows: &[_], earlier: Option<&Asked>| {
        let networks = (plan.own.as_slice(), plan.peers.as_slice());
        let most = of_a_check(earlier);
        services.ask(questions(networks, (&flows_start, flows), earlier, most))
    };
    let asked_middle = ask(&flows_middle, None);
    let dropped_middle = dropping.read();
    stop.sleep((duration / 2).saturating_sub(2 * APART)).await;
    let flows_followed = session.read_flows_of(&asked_middle.known())?;
    let end = moment(&mut session).await?;
    let flows_end = session.read_flows()?;
    let asked_end = ask(&flows_end, Some(&asked_middle));
    let dropped = [dropped_start, dropped_middle, dropping.read()];
    let (peers, own) = (plan.peers.clone(), plan.own.clone());
    let observation = Observation {
        peers,
        own,
        start,
        middle,
        end,
        flows_start,
        flows_middle,
        flows_end,
        flows_followed,
        asked_middle,
        asked_end,
    };
    Ok((observation, all(dropped)))
}

/// All readings, if none is missing.
pub(super) fn all<T>(readings: [Option<T>; 3]) -> Option<[T; 3]> {
    let [start, middle, end] = readings;
    Some([start?, middle?, end?])
}

/// Two readings, [`APART`].
pub(super) async fn moment(session: &mut Session) -> anyhow::Result<Moment> {
    let early = session.read()?;
    tokio::time::sleep(APART).await;
    Ok(Moment { early, late: session.read()? })
}

/// The signals that end a window early, or the daemon.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    stopped: bool,
}

impl Stop {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            stopped: false,
        })
    }

    /// Sleeps for `time`, or not at all once a signal has come.
    async fn sleep(&mut self, time: Duration) {
        if self.stopped {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = self.signal() => {}
        }
    }

    /// Waits for a signal and says which.
    pub(super) async fn signal(&mut self) -> &'static str {
        let name = tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        };
        self.stopped = true;
        name
    }
}
