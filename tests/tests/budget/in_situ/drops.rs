//! The drop programs, each beside a program that does the least of what it does, at the same drops.

use std::{
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};
use nix::sched::{CloneFlags, unshare};
use tracer::kernel::{DropOptions, DropSession, DropVariant, YARDSTICK, objects};
use tracer_common::names;

use super::{ROUNDS, Runs};
use crate::{measure::Measured, programs::Programs};

/// Drops in a round.
const DROPS: u32 = 20_000;
/// Nobody listens there: each datagram is dropped for want of a socket.
const CLOSED: u16 = 9;

/// By reason and location, against a bare count.
pub(crate) fn drop_by_place(_: &Programs) -> Result<Measured> {
    elsewhere(|| beside(names::DROP_PLACES, DropVariant::Places, "drop_bare"))
}

/// By flow, reason and location, against a bare map of 5-tuples.
pub(crate) fn drop_by_flow(_: &Programs) -> Result<Measured> {
    elsewhere(|| beside(names::DROP_PACKETS, DropVariant::Packets, "drop_tuple"))
}

/// In a network namespace of its own, whose drops are this measurement's alone.
fn elsewhere(work: impl FnOnce() -> Result<Measured> + Send) -> Result<Measured> {
    let in_namespace = || {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
        ensure!(up.success(), "ip link set lo up: {up}");
        work()
    };
    thread::scope(|scope| scope.spawn(in_namespace).join().expect("no panic in a measurement"))
}

fn beside(program: &'static str, variant: DropVariant, unit: &str) -> Result<Measured> {
    let _statistics = enable_stats(Stats::RunTime)?;
    // The unit comes first: what it fetches of a packet into caches, the other one has for nothing,
    // and the bare count fetches nothing.
    let _unit = yardstick(unit)?;
    let session = DropSession::start(&DropOptions { variant, ..DropOptions::default() })?;
    ensure!(session.variant() == variant, "{:?}", session.because());
    let [program_info, unit_info] = [newest(program)?, newest(unit)?];
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let before = [Runs::of(&program_info)?, Runs::of(&unit_info)?];
        drop_datagrams()?;
        let own = Runs::of(&program_info)?.each_since(before[0])?;
        let unit = Runs::of(&unit_info)?.each_since(before[1])?;
        // The first one fills tables and caches.
        if round > 0 {
            rounds.push((own, unit));
        }
    }
    Ok(Measured::of_rounds(program, &rounds))
}

/// Attaches a program of the yardstick to the tracepoint.
fn yardstick(name: &str) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    let globals = objects().into_iter().flat_map(|object| object.globals);
    let layout = globals.into_iter().find(|(name, _)| *name == names::DROP_LAYOUT);
    let (_, layout) = layout.context("the kernel's types")?;
    let mut ebpf =
        loader.override_global(names::DROP_LAYOUT, layout.as_slice(), true).load(YARDSTICK)?;
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load(names::KFREE_SKB, &Btf::from_sys_fs()?)?;
    program.attach()?;
    Ok(ebpf)
}

/// The program of this name that was loaded last.
fn newest(name: &str) -> Result<ProgramInfo> {
    let known = loaded_programs().filter_map(Result::ok).filter(|it| it.name() == name.as_bytes());
    known.max_by_key(ProgramInfo::id).with_context(|| format!("{name} is not loaded"))
}

fn drop_datagrams() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a socket")?;
    for _ in 0..DROPS {
        socket.send_to(b"nobody", (Ipv4Addr::LOCALHOST, CLOSED)).context("a datagram")?;
    }
    Ok(())
}
