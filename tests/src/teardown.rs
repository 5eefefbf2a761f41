//! Taking a lab down, whatever happens: on drop, on a panic, on SIGINT and SIGTERM, and by the next
//! lab when the last one was killed.

use std::{
    process,
    sync::{
        Once, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    flanneld, netns, process as lab_process,
    script::{Script, Tool},
    state,
};

/// Taken for reading while something is created or removed, for writing from the moment a signal
/// asks us to end until the process ends.
static GATE: RwLock<()> = RwLock::new(());
/// Whether a lab of this process would be left behind if it ended now.
static OWNS_A_LAB: AtomicBool = AtomicBool::new(false);

/// Ends all recorded processes, deletes all our namespaces and the state directory. Does nothing
/// when there is nothing. The caller holds the lock of the lab.
///
/// # Errors
/// When something of ours could not be removed.
pub fn remove_everything() -> Result<()> {
    lab_process::end_all()?;
    flanneld::remove_cgroups()?;
    let lines = netns::existing()?.into_iter().map(|name| format!("netns del {name}"));
    let script = Script::new(Tool::Ip, None, lines);
    if !script.lines.is_empty() {
        script.run_ungated()?;
    }
    state::remove()
}

/// Held while something is created or removed. Once a signal has asked us to end it never returns:
/// nothing may appear behind the back of the clean-up, which ends the process.
pub(crate) fn gate() -> RwLockReadGuard<'static, ()> {
    GATE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Says whether this process has a lab to take down when it is interrupted.
pub(crate) fn own(owns: bool) {
    OWNS_A_LAB.store(owns, Ordering::SeqCst);
}

/// From now on SIGINT and SIGTERM take the lab down before the process ends.
pub(crate) fn on_signals() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = install());
    result
}

fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end(signal);
        }
    });
    Ok(())
}

fn end(signal: i32) -> ! {
    let _closed = GATE.write().unwrap_or_else(PoisonError::into_inner);
    if OWNS_A_LAB.load(Ordering::SeqCst)
        && let Err(error) = remove_everything()
    {
        eprintln!("the lab could not be removed: {error:#}; run `cargo xtask lab down`");
    }
    // What a shell reports for a program that a signal has ended.
    process::exit(128 + signal)
}
