//! `cargo xtask vm`: the suites on other kernels, each in a guest of QEMU.
//!
//! A kernel is a Debian package, fetched by apt into the cache, or a directory that has `vmlinuz`
//! and `lib/modules/VERSION`; with words for its command line it is a row of the matrix ([`row`]).
//! Its initramfs ([`initramfs`]) holds a static init, the modules, the programs of the lab with
//! their libraries, the production binary and the suites. The guest ([`guest`]) runs them and says
//! in one line how they ended, and in a line each how a case came out, where the packets of a fault were
//! lost, and what the verifier took for a program. These lines carry a number
//! drawn for this guest, so that neither silence nor stray output passes for them ([`console`]). A
//! guest that panics, hangs, never boots or leaves out a case is a failed row; the logs are in
//! `target/vm`.
//!
//! QEMU uses KVM when a guest without suites boots under it within a few seconds, else it
//! interprets (TCG), about ten times slower.

mod accelerator;
mod architecture;
mod console;
mod cpio;
mod debian;
mod guest;
mod initramfs;
mod kernel;
mod modules;
mod programs;
mod record;
mod root;
mod row;
mod table;
mod trial;
mod under_test;

use std::collections::BTreeMap;
use std::fs;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum as _};
use tracer_tests::matrix::in_parallel;
use tracer_tests::seed;

use self::accelerator::Accelerator;
use self::architecture::Architecture;
use self::guest::{Guest, Limits, Ran};
use self::initramfs::{Payload, Selection};
use self::kernel::Kernel;
use self::record::Record;
use self::row::{Row, rows};
use self::table::Done;
use self::trial::{Trial, Tried};
use crate::page::writable;
use crate::test::Tally;
use crate::{build, folder, packages, setup};

/// What this command needs beside the lab's programs.
const PROGRAMS: [packages::Provider; 3] =
    [("depmod", "kmod"), ("dpkg-deb", "dpkg"), ("strip", "binutils")];

/// Guests at the same time: as many as a small machine has processors.
const JOBS: usize = 2;
/// Silence before a guest counts as hung: the short suites say a line for each case.
const PATIENCE: Duration = Duration::from_secs(4 * 60);
/// The same with every suite or a long one: a test that plays several labs says nothing until its end.
const LONG_PATIENCE: Duration = Duration::from_secs(20 * 60);
/// The longest that a guest may take for the short suites: most take half of it.
const SHORT: Duration = Duration::from_secs(10 * 60);
/// The longest that a guest may take for every suite or a long one, interpreted on a small machine.
const ALL: Duration = Duration::from_secs(4 * 60 * 60);

#[derive(Args, Default)]
pub(crate) struct VmArgs {
    /// A Debian kernel line (5.10, 6.1, 6.12, 7.2), or a directory with vmlinuz and
    /// lib/modules/VERSION (repeatable); without it, every Debian line
    #[arg(long = "kernel", value_name = "LINE|DIR")]
    kernels: Vec<String>,
    /// The guests' processor; by default this machine's. For another one the programs are built too,
    /// and the guests are interpreted
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
    /// More words for the guest's kernel, such as lockdown=confidentiality
    #[arg(long, value_name = "ARGS", default_value = "")]
    append: String,
    /// Every suite and every case, and not only what a guest has time for in a few minutes
    #[arg(long)]
    all: bool,
    /// These suites only (repeatable)
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// What the cases are drawn from when there are too many; another one each time
    #[arg(long, conflicts_with = "all")]
    seed: Option<u64>,
    /// Guests at the same time
    #[arg(long, default_value_t = JOBS)]
    jobs: usize,
    /// How many seconds a guest may say nothing before it has hung: 240, with --all or --suite 1200
    #[arg(long)]
    patience: Option<u64>,
    /// How many minutes a guest may take: 10, with --all or --suite 240
    #[arg(long)]
    minutes: Option<u64>,
    /// Write the tables to a file too, as Markdown with the date
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Do not run again the suites and cases that a run with --all has shown to be right on a row:
    /// its line says of which commits they are
    #[arg(long, requires = "all", conflicts_with = "filter")]
    resume: bool,
    /// Where a run with --all keeps what it has shown to be right, and --resume finds it: target/vm,
    /// or a folder that outlives the machine
    #[arg(long, value_name = "DIR", requires = "all", conflicts_with = "filter")]
    records: Option<PathBuf>,
    /// Guests that panic, hang and never boot, to see whether that is seen: a minute
    #[arg(long, conflicts_with_all = ["all", "suites", "seed", "append", "write", "filter"])]
    trials: bool,
    /// Only tests whose names hold one of these
    #[arg(last = true)]
    filter: Vec<String>,
}

/// What all guests of a run share.
struct Run {
    kernels: BTreeMap<String, Result<Kernel>>,
    payload: Payload,
    accelerator: Accelerator,
    limits: Limits,
    folder: PathBuf,
    /// Commit and day of what is under test.
    now: String,
}

/// `cargo xtask vm`.
pub(crate) fn run(args: &VmArgs) -> Result<ExitCode> {
    args.architecture()?;
    // Before the guests have run for an hour.
    let file = args.write.as_deref().map(writable).transpose()?;
    setup::run()?;
    if args.trials {
        let tried = args.try_deaths()?;
        tried.iter().for_each(|it| println!("vm: {it}"));
        let good = tried.iter().all(|it| it.result.is_ok());
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (cases, all) = args.run()?;
    let text = table::whole(&cases, &all);
    report(&all);
    print!("\n{text}");
    if let Some(file) = file {
        let text = page(args, &text);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let good = all.iter().all(Done::is_good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tier `vm` of `cargo xtask test`: whether a guest that dies is seen, and then the matrix, a check
/// a cell, with the cases that are drawn from a seed, or with all suites: those go on, or not, with the
/// `records` of what was right.
pub(crate) fn tier(seed: Option<u64>, resume: bool, records: Option<PathBuf>) -> Result<Tally> {
    if let Err(error) = Architecture::here() {
        let mut tally = Tally::default();
        tally.skip("guests", &error.to_string());
        return Ok(tally);
    }
    let all = seed.is_none();
    let args = VmArgs { all, seed, records, resume, jobs: JOBS, ..VmArgs::default() };
    let mut tally = Tally::default();
    for tried in args.try_deaths()? {
        println!("vm: {tried}");
        match tried.result {
            Ok(()) => tally.pass(),
            Err(_) => tally.fail(&tried.to_string()),
        }
    }
    let (cases, all) = args.run()?;
    report(&all);
    print!("\n{}", table::whole(&cases, &all));
    for done in &all {
        let wrong = |case: &str| done.verdict().is_none_or(|it| it.is_wrong(case));
        let (wrong, right): (Vec<&String>, Vec<&String>) = cases.iter().partition(|it| wrong(it));
        right.iter().for_each(|_| tally.pass());
        wrong.iter().for_each(|case| tally.fail(&format!("{}: {case}", done.row)));
        if !done.is_good() {
            tally.fail(&format!("{}: {}", done.row, done.words()));
        }
    }
    Ok(tally)
}

// === impl VmArgs ===

impl VmArgs {
    fn architecture(&self) -> Result<Architecture> {
        self.arch.map_or_else(Architecture::here, Ok)
    }

    /// Installs what the guests need, and says whose processor they have.
    fn set_up(&self) -> Result<Architecture> {
        let architecture = self.architecture()?;
        packages::install(&packages::missing(&PROGRAMS))?;
        packages::install(&packages::missing(&architecture.programs()))?;
        Ok(architecture)
    }

    /// Runs every guest; the cases that each had to show, and how each did.
    fn run(&self) -> Result<(Vec<String>, Vec<Done>)> {
        let architecture = self.set_up()?;
        let folder = folder()?;
        let _alone = alone(&folder)?;
        // Before the guests have run for hours.
        self.records.as_deref().map(folder::writable).transpose()?;
        let seed = (!self.all).then(|| self.seed.unwrap_or_else(seed::random));
        if let Some(seed) = seed {
            eprintln!("vm: cases drawn from --seed {seed}");
        }
        let (suites, filter) = (self.suites.clone(), self.filter.clone());
        let selection = Selection { all: self.all, suites, seed, filter };
        let mut payload = Payload::build(architecture, &selection, &folder)?;
        let now = format!("{}, {}", build::commit(), jiff::Zoned::now().date());
        let rows = rows(architecture, &self.kernels, &self.append);
        let kernels: BTreeMap<String, Result<Kernel>> = rows
            .iter()
            .map(|row| (row.kernel.clone(), Kernel::get(&row.kernel, architecture)))
            .collect();
        let accelerator =
            accelerator::choose(architecture, kernels.values(), payload.init(), &folder)?;
        if accelerator == Accelerator::Tcg {
            payload.make_small();
        }
        let limits = self.limits();
        let cases = payload.expected().cases.clone();
        let run = Run { kernels, payload, accelerator, limits, folder, now };
        // The newest kernels take longest: begun first, none of them is alone at the end.
        let order: Vec<&Row> = rows.iter().rev().collect();
        let guests = in_parallel(&order, self.jobs, |row| self.kept_and_run(&run, row));
        Ok((cases, guests.into_iter().rev().collect::<Result<_>>()?))
    }

    /// What is known of a row already, and what its guest says now of the rest.
    fn kept_and_run(&self, run: &Run, row: &Row) -> Result<Done> {
        let folder = self.records.as_ref().unwrap_or(&run.folder);
        let earlier = Record::find(folder, row).filter(|it| run.is_of_its_kernel(it, row));
        let known = earlier.as_ref().filter(|_| self.resume).map(|it| run.asked_of(it));
        let played = run.play(row, known.as_ref());
        if let (true, Some(Ok(ran))) = (self.all && self.filter.is_empty(), &played) {
            Record::after(earlier, &run.now, ran).keep(folder, row)?;
        }
        let done = run.done(row, known, played);
        eprintln!("vm: {row}: {}", done.words());
        Ok(done)
    }

    /// Has a guest die in each way, all at the same time: most of it is waiting.
    fn try_deaths(&self) -> Result<Vec<Tried>> {
        let architecture = self.set_up()?;
        let folder = folder()?;
        let _alone = alone(&folder)?;
        let rows = rows(architecture, &self.kernels, "");
        let row = &rows[0];
        let kernel = Kernel::get(&row.kernel, architecture);
        let init = under_test::init(architecture)?;
        let accelerator = accelerator::choose(architecture, [&kernel].into_iter(), &init, &folder)?;
        let (kernel, image) = (kernel?, folder.join("trial.cpio"));
        initramfs::write_bare(&init, &image)?;
        let play = |trial: &Trial| Ok(trial.play((row, &kernel), accelerator, &image));
        in_parallel(&Trial::ALL, Trial::ALL.len(), play).into_iter().collect()
    }

    /// The options that narrow a run, as they would be given.
    fn words(&self) -> String {
        let each = |option: &'static str, values: &[String]| -> Vec<String> {
            values.iter().flat_map(|value| [option.to_owned(), quoted(value)]).collect()
        };
        let mut words: Vec<String> = Vec::new();
        words.extend(self.all.then(|| "--all".to_owned()));
        let arch = self.arch.and_then(|it| it.to_possible_value());
        words.extend(arch.map(|it| format!("--arch {}", it.get_name())));
        words.extend(each("--kernel", &self.kernels));
        if !self.append.is_empty() {
            words.extend(["--append".to_owned(), quoted(&self.append)]);
        }
        words.extend(each("--suite", &self.suites));
        words.extend((!self.filter.is_empty()).then(|| "--".to_owned()));
        words.extend(self.filter.iter().map(|text| quoted(text)));
        words.iter().map(|word| format!(" {word}")).collect()
    }

    fn limits(&self) -> Limits {
        // A suite that was named may be a long one.
        let is_long = self.all || !self.suites.is_empty();
        let (silence, total) = if is_long { (LONG_PATIENCE, ALL) } else { (PATIENCE, SHORT) };
        let total = self.minutes.map_or(total, |minutes| Duration::from_secs(60 * minutes));
        Limits { silence: self.patience.map_or(silence, Duration::from_secs), total }
    }
}

// === impl Run ===

impl Run {
    /// Whether a record is of the very kernel that the row has today.
    fn is_of_its_kernel(&self, record: &Record, row: &Row) -> bool {
        let kernel = self.kernels[&row.kernel].as_ref().ok();
        kernel.is_some_and(|it| record.ran.verdict.release.as_deref() == it.release())
    }

    /// What was kept of what is to be shown today.
    fn asked_of(&self, record: &Record) -> Record {
        let Record { at, ran } = record.clone();
        Record { at, ran: ran.of(&self.payload.expected().cases) }
    }

    /// What the guest of a row says of what is not known of it; `None` where all of that is.
    fn play(&self, row: &Row, known: Option<&Record>) -> Option<Result<Ran>> {
        let is_known = |case: &str| known.is_some_and(|it| it.ran.verdict.cell(case).is_some());
        let payload = self.payload.but(is_known);
        if known.is_some() && payload.expected().cases.is_empty() {
            return None;
        }
        Some(match &self.kernels[&row.kernel] {
            Ok(kernel) => {
                eprintln!("vm: {row} boots");
                self.boot(&payload, kernel, row)
            }
            Err(error) => Err(anyhow!("{error:#}")),
        })
    }

    /// What a row comes to, with what was known of it.
    fn done(&self, row: &Row, known: Option<Record>, played: Option<Result<Ran>>) -> Done {
        let (mut at, known) = known.map_or((Vec::new(), None), |it| (it.at, Some(it.ran)));
        if played.is_some() {
            at.retain(|it| *it != self.now);
            at.push(self.now.clone());
        }
        let result = match (played, known) {
            (Some(played), Some(known)) => played.map(|ran| ran.after(&known)),
            (Some(played), None) => played,
            (None, Some(known)) => Ok(known),
            (None, None) => Err(anyhow!("there was nothing to run")),
        };
        Done { row: row.clone(), result, log: self.log(row), at }
    }

    /// Where everything goes that the guest of a row says.
    fn log(&self, row: &Row) -> PathBuf {
        self.folder.join(format!("{}.log", row.file()))
    }

    fn boot(&self, payload: &Payload, kernel: &Kernel, row: &Row) -> Result<Ran> {
        let log = self.log(row);
        let image = log.with_extension("cpio");
        payload.write(kernel, &image)?;
        let (accelerator, append) = (self.accelerator, row.append.as_str());
        let expected = payload.expected();
        let machine = (row.architecture, accelerator);
        let guest = Guest { kernel, image: &image, machine, append, log: &log, expected };
        let ran = guest.run(&self.limits);
        // It is large, and made anew by the next run.
        let _ = fs::remove_file(&image);
        ran
    }
}

/// Where initramfs images and logs go.
fn folder() -> Result<PathBuf> {
    let folder = build::target_folder().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Keeps other runs away until it is dropped: they would write the same images and logs.
fn alone(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let cannot = || format!("cannot lock {}", path.display());
    let lock = OpenOptions::new().append(true).create(true).open(&path).with_context(cannot)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("another run has its guests in {}: wait for its end, or end it", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
    }
}

/// What the failed guests last said.
fn report(all: &[Done]) {
    for done in all.iter().filter(|done| !done.is_good()) {
        let tail = done.verdict().map_or("", |verdict| verdict.tail.as_str());
        println!("{}: {}\nthe last of {}:\n{tail}\n", done.row, done.words(), done.log.display());
    }
}

/// A word of a command line.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '\'');
    if is_plain { word.to_owned() } else { format!("{word:?}") }
}

/// The page for the documentation.
fn page(args: &VmArgs, tables: &str) -> String {
    let today = jiff::Zoned::now().date();
    let words = args.words();
    format!(
        "# Kernels\n\nWhat `cargo xtask vm{words}` said on {today}. A case is a fault that must be \
         told where it is and nowhere else, a healthy lab or look-alike that must not be told, or a \
         whole suite. `degraded` is right, but for what the list below the table says. The table \
         behind it is where the packets of each fault were lost as a node told it: the last stage \
         that saw them, and what the kernel said of the drop; – where no node dropped them itself, or \
         the kernel's word on it could not be read. Faults that were shown before there was this \
         table have no line. The last table is what each verifier took for a program, in instructions and bytes of stack; \
         `tests/tests/verifier/limits.toml` has the limits.\n\n{tables}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_what_narrowed_its_run() {
        let words = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let narrow = VmArgs {
            kernels: words(&["6.1", "./mine"]),
            append: "quiet nokaslr".to_owned(),
            suites: words(&["lab"]),
            filter: words(&["healthy"]),
            ..VmArgs::default()
        };
        let title = "`cargo xtask vm --kernel 6.1 --kernel ./mine --append \"quiet nokaslr\" \
                     --suite lab -- healthy` said";
        assert!(page(&narrow, "").contains(title), "{}", page(&narrow, ""));
        let all = VmArgs { all: true, ..VmArgs::default() };
        assert!(page(&all, "").contains("`cargo xtask vm --all` said"));
        assert!(page(&VmArgs::default(), "").contains("`cargo xtask vm` said"));
    }

    #[test]
    fn a_second_run_in_the_same_folder_is_told_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = alone(folder.path()).expect("nobody is there");
        let error = alone(folder.path()).expect_err("the first is there").to_string();
        assert!(error.starts_with("another run has its guests in "), "{error}");
        drop(first);
        assert!(alone(folder.path()).is_ok());
    }
}
