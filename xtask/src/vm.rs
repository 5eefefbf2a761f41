//! `cargo xtask vm`: the suites on other kernels, each in a guest of QEMU.
//!
//! A kernel is a Debian package, fetched by apt into the cache, or a directory that has `vmlinuz`
//! and `lib/modules/VERSION`. Its initramfs ([`initramfs`]) holds a static init, the modules, the
//! programs of the lab with their libraries, the production binary and the suites. The guest
//! ([`guest`]) runs them and says in one line how they ended. That line carries a number drawn
//! for this run, so that neither silence nor stray output passes for it ([`console`]). A guest that
//! panics, hangs or never boots is a failed kernel; the logs are in `target/vm`.
//!
//! QEMU uses KVM when a guest without suites boots under it within a few seconds, else it
//! interprets (TCG), about ten times slower.

mod accelerator;
mod console;
mod cpio;
mod guest;
mod initramfs;
mod kernel;
mod modules;
mod programs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{Table, presets};
use tracer_tests::matrix::in_parallel;

use self::accelerator::Accelerator;
use self::console::Verdict;
use self::guest::{Guest, Limits};
use self::initramfs::{Payload, Selection};
use self::kernel::Kernel;
use crate::{build, packages, setup};

/// What this command needs beside the lab's programs.
const PROGRAMS: [packages::Provider; 4] = [
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
];

/// The longest that a guest may take, interpreted on a small machine.
const TOTAL: Duration = Duration::from_secs(2400);

#[derive(Args)]
pub(crate) struct VmArgs {
    /// A Debian kernel line (5.10, 6.1, 6.12, 7.2), or a directory with vmlinuz and
    /// lib/modules/VERSION (repeatable); without it, every Debian line
    #[arg(long = "kernel", value_name = "LINE|DIR")]
    kernels: Vec<String>,
    /// More words for the guest's kernel, such as lockdown=confidentiality
    #[arg(long, value_name = "ARGS", default_value = "")]
    append: String,
    /// Every suite, and not the one that shows each fault once
    #[arg(long)]
    all: bool,
    /// Guests at the same time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// How many seconds a guest may say nothing before it has hung
    #[arg(long, default_value_t = 240)]
    patience: u64,
    /// Only tests whose names hold one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

/// How one kernel did.
struct Row {
    kernel: String,
    verdict: Result<Verdict>,
    log: PathBuf,
}

// === impl VmArgs ===

impl VmArgs {
    fn boot(
        &self,
        kernel: &Kernel,
        payload: &Payload,
        accelerator: Accelerator,
        log: &Path,
    ) -> Result<Verdict> {
        let image = log.with_extension("cpio");
        payload.write(Some(kernel), &image)?;
        let (append, suites) = (self.append.as_str(), payload.suites());
        let guest = Guest { kernel, image: &image, accelerator, append, log, suites };
        let silence = Duration::from_secs(self.patience);
        let verdict = guest.run(&Limits { silence, total: TOTAL });
        // It is large, and made anew by the next run.
        let _ = std::fs::remove_file(&image);
        verdict
    }
}

pub(crate) fn run(args: &VmArgs) -> Result<ExitCode> {
    setup::run()?;
    packages::install(&packages::missing(&PROGRAMS))?;
    let folder = folder()?;
    let selection = Selection { all: args.all, filter: args.filter.clone() };
    let payload = Payload::build(&build::production()?, &selection, &folder)?;
    let names = if args.kernels.is_empty() { kernel::lines() } else { args.kernels.clone() };
    let kernels: Vec<(String, Result<Kernel>)> =
        names.into_iter().map(|name| (name.clone(), Kernel::get(&name))).collect();
    let accelerator = accelerator::choose(&kernels, &payload, &folder)?;
    let job = |(name, kernel): &(String, Result<Kernel>)| {
        let log = folder.join(format!("{}.log", name.replace('/', "_")));
        let verdict = match kernel {
            Ok(kernel) => args.boot(kernel, &payload, accelerator, &log),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        Ok(Row { kernel: name.clone(), verdict, log })
    };
    let rows: Vec<Row> =
        in_parallel(&kernels, args.jobs, job).into_iter().collect::<Result<_>>()?;
    report(&rows);
    let good = rows.iter().all(|row| row.verdict.as_ref().is_ok_and(Verdict::is_good));
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where initramfs images and logs go.
fn folder() -> Result<PathBuf> {
    let folder = build::target_folder().join("vm");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// One line a kernel; under the table what a failed guest last said.
fn report(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["kernel", "release", "verdict", "log"]);
    for Row { kernel, verdict, log } in rows {
        let (release, word) = match verdict {
            Ok(verdict) => (verdict.release.clone().unwrap_or_default(), verdict.to_string()),
            Err(error) => (String::new(), format!("FAILED: {error:#}")),
        };
        table.add_row([kernel.clone(), release, word, log.display().to_string()]);
    }
    for row in rows {
        let Ok(verdict) = &row.verdict else { continue };
        if !verdict.is_good() {
            println!("{}: the last of {}:\n{}\n", row.kernel, row.log.display(), verdict.tail);
        }
    }
    println!("{table}");
}
