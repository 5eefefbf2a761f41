//! The first process of a guest of `cargo xtask vm`: prepares the guest, runs the suites that
//! `/vm/suites` names, says on the console how they ended, and switches the guest off.
//!
//! What it says carries the nonce of the kernel's command line, so that neither silence nor the
//! output of a suite can be taken for it:
//!
//! ```text
//! vm NONCE booted 6.1.0-56-cloud-amd64
//! vm NONCE cell suite:smoke right
//! vm NONCE suites 2 passed 9 failed 0
//! ```
//!
//! A suite finds the nonce in its environment and may say cells of its own
//! ([`tracer_tests::cell`]).

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    path::Path,
    process::{self, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};
use tracer_tests::cell::{Cell, NONCE_VARIABLE, Outcome, suite_case};

/// One suite a line: program and arguments.
const SUITES: &str = "/vm/suites";
/// `NAME=VALUE` lines that the suites find in their environment.
const ENVIRONMENT: &str = "/vm/environment";
/// Modules that nothing loads by itself.
const MODULES: &str = "/vm/modules";
/// The kernel says errors alone, as with `quiet` (kernel/printk/printk.c, Linux 6.18).
const ERRORS: &str = "4";
/// Nothing sets it for the first process.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Type, place, and directories to be made in it.
const MOUNTS: [(&str, &str, &[&str]); 9] = [
    ("proc", "/proc", &[]),
    ("sysfs", "/sys", &[]),
    ("devtmpfs", "/dev", &[]),
    ("tmpfs", "/run", &["lock", "netns"]),
    ("tmpfs", "/tmp", &[]),
    ("bpf", "/sys/fs/bpf", &[]),
    ("cgroup2", "/sys/fs/cgroup", &[]),
    ("tracefs", "/sys/kernel/tracing", &[]),
    // It says whether the kernel is locked down.
    ("securityfs", "/sys/kernel/security", &[]),
];

/// What the suites came to.
#[derive(Default)]
struct Sum {
    suites: usize,
    passed: u64,
    failed: u64,
}

/// The kernel's command line.
struct CommandLine(String);

fn main() {
    // It mounts over what is there and switches the machine off.
    if process::id() != 1 {
        eprintln!("vm-init is the first process of a guest of `cargo xtask vm`, and nothing else");
        process::exit(2);
    }
    if let Err(error) = run() {
        eprintln!("vm-init: {error:#}");
    }
    // It returns only on error, and then the end of this process is the guest's end too.
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

fn run() -> Result<()> {
    mount_all();
    let line = CommandLine(fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?);
    let nonce = line.value("vm.nonce").context("the command line has no vm.nonce")?;
    let trial = line.value("vm.trial").unwrap_or_default();
    if trial == "mute" {
        wait_for_ever();
    }
    // Its console was for those who want to know why a kernel does not boot.
    fs::write("/proc/sys/kernel/printk", ERRORS).context("printk")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("osrelease")?;
    say(&format!("vm {nonce} booted {}", release.trim()));
    match trial {
        "panic" => fs::write("/proc/sysrq-trigger", "c").context("sysrq")?,
        "hang" => wait_for_ever(),
        _ => {}
    }
    load_modules();
    let Sum { suites, passed, failed } = run_suites(nonce)?;
    say(&format!("vm {nonce} suites {suites} passed {passed} failed {failed}"));
    Ok(())
}

/// Mounts what a system has; a kernel without one of them is the suites' to complain about.
fn mount_all() {
    for (kind, place, directories) in MOUNTS {
        let made = fs::create_dir_all(place);
        let mounted = mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>);
        if let Err(error) = made.and(mounted.map_err(Into::into)) {
            eprintln!("vm-init: cannot mount {kind} at {place}: {error}");
        }
        for directory in directories {
            let _ = fs::create_dir_all(Path::new(place).join(directory));
        }
    }
    let _ = symlink("/run", "/var/run");
    let _ = symlink("/proc/self/fd", "/dev/fd");
}

fn load_modules() {
    let modules = fs::read_to_string(MODULES).unwrap_or_default();
    // One at a time: a module that this kernel has built in, or not at all, keeps no other away.
    for module in modules.lines() {
        let loaded = command("modprobe").args(["--quiet", module]).status();
        if !loaded.is_ok_and(|status| status.success()) {
            eprintln!("vm-init: no module {module}");
        }
    }
    let up = command("ip").args(["link", "set", "lo", "up"]).status();
    if !up.is_ok_and(|status| status.success()) {
        eprintln!("vm-init: cannot set lo up");
    }
}

fn run_suites(nonce: &str) -> Result<Sum> {
    let environment = fs::read_to_string(ENVIRONMENT).context(ENVIRONMENT)?;
    let environment: Vec<_> = environment.lines().filter_map(|it| it.split_once('=')).collect();
    let mut sum = Sum::default();
    for line in fs::read_to_string(SUITES).context(SUITES)?.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some((program, arguments)) = words.split_first() else { continue };
        say(&format!("vm-init: {line}"));
        let mut suite = command(program);
        suite.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
        suite.env(NONCE_VARIABLE, nonce);
        let (passed, failed) = sum.add(&mut suite);
        let name = program.rsplit('/').next().unwrap_or(program);
        let is_filtered = arguments.iter().any(|it| !it.starts_with("--"));
        let outcome = Outcome::of_suite(passed, failed, is_filtered);
        say(&Cell { case: suite_case(name), outcome }.line(nonce));
    }
    Ok(sum)
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", PATH);
    command
}

fn say(line: &str) {
    // On a line of its own, whatever was being printed.
    let _ = writeln!(std::io::stdout(), "\n{line}");
}

fn wait_for_ever() -> ! {
    loop {
        thread::park_timeout(Duration::MAX);
    }
}

// === impl CommandLine ===

impl CommandLine {
    /// VALUE of `NAME=VALUE`.
    fn value(&self, name: &str) -> Option<&str> {
        let mut words = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        words.find_map(|(key, value)| (key == name).then_some(value))
    }
}

// === impl Sum ===

impl Sum {
    /// Runs a suite, shows its output and counts its results; how many passed and failed. A suite
    /// that ends badly without a failed test counts as one.
    fn add(&mut self, suite: &mut Command) -> (u64, u64) {
        self.suites += 1;
        let (passed_before, failed_before) = (self.passed, self.failed);
        let well = self.stream(suite).unwrap_or_else(|error| {
            eprintln!("vm-init: {error:#}");
            false
        });
        if !well && self.failed == failed_before {
            self.failed += 1;
        }
        (self.passed - passed_before, self.failed - failed_before)
    }

    fn stream(&mut self, suite: &mut Command) -> Result<bool> {
        let mut child = suite.stdout(Stdio::piped()).spawn().context("cannot start the suite")?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("the suite's output")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.read(&line);
        }
        Ok(child.wait().context("the suite's end")?.success())
    }

    fn read(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|it| !it.is_empty()).collect();
        let count = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
        };
        self.passed += count("passed").unwrap_or(0);
        self.failed += count("failed").unwrap_or(0);
    }
}
