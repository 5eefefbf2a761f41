//! The window: programs attached, the maps read at its start, middle and end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracer::{
    evidence::{Evidence, Tables},
    kernel::{self, AttachMode, DnsReading, DropReading, Plan, Session, StartError, VipTable},
    netlink,
    observe::{Asked, Moment, Observation, dns, questions, traffic},
};

use super::{
    clock, dns_rules,
    drops::{Dropping, overlays_of},
    proxy_rules::ProxyRules,
    services::{Services, of_a_check},
    vips::{Answering, Around},
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
    let runtime = clock()?;
    // Before anything is attached: from here on a signal cannot leave a filter behind.
    let stop = runtime.block_on(async { Stop::new() }).context("listening for signals")?;
    remove_leftovers(&mut evidence.unseen);
    let mut session = Session::start(plan, mode)?;
    evidence.hooks = session.hooks().to_vec();
    evidence.unseen.extend(session.blind_to_rare());
    evidence.unseen.extend(session.blind_to_dns());
    *dropping = Dropping::start(plan);
    let none = Tables::default();
    let Evidence { tables, intent, roles, .. } = &*evidence;
    let around = Around { tables: tables.as_ref().unwrap_or(&none), intent, roles };
    // It goes before the session.
    let mut answering = Answering::start(around, mode);
    let start = Timestamp::now();
    let started = Instant::now();
    let mut services = Services::default();
    let programs = Programs {
        session: &mut session,
        dropping,
        answering: &mut answering,
        services: &mut services,
        around,
    };
    let seen = runtime.block_on(window(programs, stop, plan, duration));
    let seconds = started.elapsed().as_secs_f64();
    let answered = seen.map(|seen| {
        let vips = seen.vips.as_ref();
        let vips =
            vips.and_then(|[start, middle, end]| answering.between([start, middle, end], around));
        (seen, vips)
    });
    let mut unseen = answering.unseen(&evidence.intent);
    services.tell_unseen(&mut unseen);
    evidence.unseen.extend(unseen);
    let (seen, vips) = answered.context("reading the programs' counters")?;
    let Seen { observation, dropped, paired, .. } = seen;
    evidence.vips = vips;
    evidence.window.start = start;
    evidence.window.seconds = seconds;
    let traffic = traffic(&observation);
    let timeout = Duration::from_nanos(plan.config.dns_timeout());
    evidence.dns = paired.map(|[start, end]| dns(&start, &end, timeout, &traffic.flows));
    evidence.traffic = Some(traffic);
    let overlays = overlays_of(evidence);
    evidence.drops = dropped.and_then(|readings| dropping.between(&readings, &overlays));
    dns_rules::fill(evidence, &mut ProxyRules::default());
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

/// What is read in a window.
struct Programs<'a> {
    session: &'a mut Session,
    dropping: &'a mut Dropping,
    answering: &'a mut Answering,
    services: &'a mut Services,
    around: Around<'a>,
}

/// All readings of the window.
struct Seen {
    observation: Observation,
    dropped: Option<[DropReading; 3]>,
    vips: Option<[VipTable; 3]>,
    paired: Option<[DnsReading; 2]>,
}

async fn window(
    programs: Programs<'_>,
    mut stop: Stop,
    plan: &Plan,
    duration: Duration,
) -> anyhow::Result<Seen> {
    let Programs { session, dropping, answering, services, around } = programs;
    let dropped_start = dropping.read();
    let vips_start = answering.read();
    let paired_start = session.read_dns()?;
    let start = moment(session).await?;
    let flows_start = session.read_flows()?;
    tracing::info!("counting from now on, at {} hooks", session.hooks().len());
    stop.sleep(duration / 2).await;
    let flows_middle = session.read_flows()?;
    let middle = moment(session).await?;
    let mut ask = |flows: &[_], earlier: Option<&Asked>| {
        let networks = (plan.own.as_slice(), plan.peers.as_slice());
        let most = of_a_check(earlier);
        services.ask(questions(networks, (&flows_start, flows), earlier, most))
    };
    let asked_middle = ask(&flows_middle, None);
    let dropped_middle = dropping.read();
    let vips_middle = answering.read();
    answering.learn(around);
    stop.sleep((duration / 2).saturating_sub(2 * APART)).await;
    let flows_followed = session.read_flows_of(&asked_middle.known())?;
    let end = moment(session).await?;
    let flows_end = session.read_flows()?;
    let asked_end = ask(&flows_end, Some(&asked_middle));
    let dropped = all([dropped_start, dropped_middle, dropping.read()]);
    let vips = all([vips_start, vips_middle, answering.read()]);
    let paired = paired_start.zip(session.read_dns()?).map(|(start, end)| [start, end]);
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
    Ok(Seen { observation, dropped, vips, paired })
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
