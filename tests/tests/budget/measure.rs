//! Measuring: programs in turn, on the processor's own time, and medians of the rounds' ratios.

use std::{collections::BTreeMap, sync::Barrier, thread};

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunOptions, programs::SchedClassifier};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::programs::Programs;

/// How often every program runs in turn.
const ROUNDS: usize = 15;
/// Packets in one go: some milliseconds, beside which the system call is nothing.
pub(crate) const PACKETS: u32 = 100_000;

/// Samples that the buffer has room for, and how often it is filled in a round.
const ROOM: u32 = 6_000;
const GOES: u32 = 10;

/// One program's median, the worst of those that a budget names.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) program: &'static str,
    /// Against the budget's unit.
    pub(crate) ratio: f64,
    /// Nanoseconds a packet, net of an empty program.
    pub(crate) nanoseconds: f64,
    /// The unit, in nanoseconds.
    pub(crate) unit: f64,
}

// === impl Measured ===

impl Measured {
    /// Medians of rounds, each the nanoseconds of a program and those of its unit.
    pub(crate) fn of_rounds(program: &'static str, rounds: &[(f64, f64)]) -> Self {
        Self {
            program,
            ratio: median(rounds.iter().map(|(own, unit)| own / unit)),
            nanoseconds: median(rounds.iter().map(|(own, _)| *own)),
            unit: median(rounds.iter().map(|(_, unit)| *unit)),
        }
    }
}

/// One program with one packet.
pub(crate) struct Run<'a> {
    pub(crate) program: &'static str,
    pub(crate) packet: &'a [u8],
    /// Through so many flows in turn; one when `None`.
    pub(crate) flows: Option<u32>,
}

/// Each run net of `empty`, in units of `minimal` with `unit`'s packet and flows; the worst of them.
pub(crate) fn against_minimal(
    programs: &Programs,
    unit: &Run<'_>,
    runs: &[Run<'_>],
) -> Result<Measured> {
    let mut rounds: BTreeMap<&'static str, Vec<(f64, f64)>> = BTreeMap::new();
    warm_up(programs, unit, runs)?;
    for _ in 0..ROUNDS {
        let minimal = net(programs, unit)?;
        for run in runs {
            rounds.entry(run.program).or_default().push((net(programs, run)?, minimal));
        }
    }
    worst(rounds)
}

/// The program with the highest median.
fn worst(rounds: BTreeMap<&'static str, Vec<(f64, f64)>>) -> Result<Measured> {
    let measured =
        rounds.into_iter().map(|(program, rounds)| Measured::of_rounds(program, &rounds));
    let worst = measured.max_by(|a, b| a.ratio.total_cmp(&b.ratio));
    worst.context("a budget names no program")
}

/// What a sample adds to a packet at a stage, in units of `minimal` with `unit`'s packet; the worst.
pub(crate) fn sampled(programs: &Programs, unit: &Run<'_>, runs: &[Run<'_>]) -> Result<Measured> {
    let mut rounds: BTreeMap<&'static str, Vec<(f64, f64)>> = BTreeMap::new();
    warm_up(programs, unit, runs)?;
    programs.take_samples();
    for _ in 0..ROUNDS {
        let minimal = net(programs, unit)?;
        for run in runs {
            let added = added_by_samples(programs, run)?;
            rounds.entry(run.program).or_default().push((added, minimal));
        }
    }
    worst(rounds)
}

/// Nanoseconds, in goes that the buffer has room for.
fn added_by_samples(programs: &Programs, run: &Run<'_>) -> Result<f64> {
    let mut added = 0.0;
    for _ in 0..GOES {
        let once = |program: &SchedClassifier| repeated(program, run.packet, ROOM);
        added += programs.with_sampling(run.program, once)? - programs.with(run.program, once)?;
        let taken = programs.take_samples();
        ensure!(taken == ROOM as usize, "{taken} samples of {ROOM} packets");
    }
    Ok(added / f64::from(GOES))
}

/// Both processors at once against one alone: what it costs a flow to be counted on two.
pub(crate) fn on_two_processors(programs: &Programs, run: &Run<'_>) -> Result<Measured> {
    let processors = processors()?;
    ensure!(processors.len() >= 2, "this needs two processors");
    programs.with(run.program, |program| {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let alone = pinned(program, run.packet, &processors[..1])?;
            let together = pinned(program, run.packet, &processors[..2])?;
            rounds.push((together, alone));
        }
        Ok(Measured::of_rounds(run.program, &rounds))
    })
}

/// The first round fills tables and caches.
fn warm_up(programs: &Programs, unit: &Run<'_>, runs: &[Run<'_>]) -> Result<()> {
    net(programs, unit)?;
    runs.iter().try_for_each(|run| net(programs, run).map(|_| ()))
}

fn net(programs: &Programs, run: &Run<'_>) -> Result<f64> {
    let empty = Run { program: "empty", ..*run };
    Ok(gross(programs, run)? - gross(programs, &empty)?)
}

/// Nanoseconds a packet.
fn gross(programs: &Programs, run: &Run<'_>) -> Result<f64> {
    let Some(flows) = run.flows else {
        return programs.with(run.program, |program| time(program, run.packet));
    };
    programs.rotate(run.program, flows)?;
    programs.with("rotate", |program| time(program, run.packet))
}

/// Nanoseconds a packet on this thread's own clock, which stands still while others run.
fn time(program: &SchedClassifier, packet: &[u8]) -> Result<f64> {
    repeated(program, packet, PACKETS)
}

fn repeated(program: &SchedClassifier, packet: &[u8], repeat: u32) -> Result<f64> {
    let options = || TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
    let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let result = program.test_run(options())?;
    let after = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    ensure!(result.return_value.cast_signed() == -1, "it returned {}", result.return_value);
    let spent = std::time::Duration::from(after) - std::time::Duration::from(before);
    Ok(spent.as_secs_f64() * 1e9 / f64::from(repeat))
}

/// The mean over some processors, all at the same time.
fn pinned(program: &SchedClassifier, packet: &[u8], processors: &[usize]) -> Result<f64> {
    let start = Barrier::new(processors.len());
    let run = |processor: usize| {
        let mut set = CpuSet::new();
        set.set(processor)?;
        sched_setaffinity(Pid::from_raw(0), &set)?;
        start.wait();
        time(program, packet)
    };
    let times: Result<Vec<f64>> = thread::scope(|scope| {
        let threads: Vec<_> =
            processors.iter().map(|processor| scope.spawn(|| run(*processor))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic in a measurement"))
            .collect()
    });
    let times = times?;
    Ok(times.iter().sum::<f64>() / times.len() as f64)
}

/// Those that this process may run on.
fn processors() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|processor| allowed.is_set(*processor) == Ok(true)).collect())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
