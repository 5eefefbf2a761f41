//! Programs where they hang: the kernel's own clock of each (BPF_STATS_RUN_TIME), while all of them
//! see the same packets.

mod drops;
mod stages;

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramInfo;

pub(crate) use self::{
    drops::{drop_by_flow, drop_by_place},
    stages::pod_to_pod,
};

/// How often packets are sent.
const ROUNDS: usize = 9;

/// What the kernel says of the runs of a program, since it was loaded.
#[derive(Debug, Clone, Copy)]
struct Runs {
    nanoseconds: u64,
    number: u64,
}

// === impl Runs ===

impl Runs {
    /// Those so far (fdinfo, kernel/bpf/syscall.c, bpf_prog_show_fdinfo, Linux 5.10 and newer).
    fn of(program: &ProgramInfo) -> Result<Self> {
        let descriptor = program.fd().context("a program of this machine")?;
        let path = format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|it| it.trim().parse().ok()).with_context(|| format!("{name} in {path}"))
        };
        Ok(Self { nanoseconds: field("run_time_ns")?, number: field("run_cnt")? })
    }

    /// Nanoseconds of each run since `before`.
    fn each_since(self, before: Self) -> Result<f64> {
        let number = self.number - before.number;
        ensure!(number > 0, "a program never ran");
        Ok((self.nanoseconds - before.nanoseconds) as f64 / number as f64)
    }
}
