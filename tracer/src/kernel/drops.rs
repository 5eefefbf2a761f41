//! What the kernel drops in this network namespace: who dropped it, why, and at which device.
//!
//! The richer program reads the dropped packets' own headers. Where the kernel forbids that, the
//! other one counts the same drops by typed loads alone, and the session says so.

mod capability;
mod entries;
mod reading;
mod types;

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::Context as _;
use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    programs::{BtfTracePoint, ProgramError},
};
use tracer_common::{
    config::Config,
    drop::{Layout, PLACES},
    names,
};

pub(super) use self::capability::probe_drops;
use self::types::KernelTypes;
pub use self::{
    capability::drop_capabilities,
    entries::DropEntries,
    reading::{DropFlowReading, DropReading, PlaceReading},
};
use super::{
    btf::BtfError, memlock, privileges::Privilege, refusal::Refusal, session::possible_cpus,
    symbols::Symbols,
};

/// What it takes to load and attach either program.
const NEEDED: [Privilege; 2] = [Privilege::Bpf, Privilege::Perfmon];

/// Where the kernel says how far it is locked down (kernel_lockdown(7)); nothing is there without
/// securityfs, as in a container.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// Who keeps a program from the kernel's memory, where that is known.
const LOCKED_DOWN: &str = "lockdown=confidentiality";
/// And where it is not.
const MAYBE_LOCKED_DOWN: &str = "lockdown or a security module";

/// The object, built by build.rs.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flannel-tracer-drops"));

/// A counting program, until dropped. It counts what the network namespace of the thread that
/// started it drops, also when that thread goes elsewhere, and what this node's pods drop in theirs.
pub struct DropSession {
    ebpf: Ebpf,
    types: KernelTypes,
    symbols: Symbols,
    /// Who hides the kernel's addresses, if they were hidden at the start.
    hidden: Option<String>,
    config: Config,
    entries: DropEntries,
    variant: DropVariant,
    because: Option<String>,
}

/// Which program counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropVariant {
    /// Reads dropped packets' own headers too.
    Packets,
    /// Typed loads alone: reason, symbol, device, EtherType. A packet of many segments counts as
    /// one.
    Places,
}

/// How to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropOptions {
    /// The richest program to try.
    pub variant: DropVariant,
    /// What the other programs are told too: the tunnel's UDP port, and which pods are this node's.
    pub config: Config,
    /// How much is counted one by one.
    pub entries: DropEntries,
}

/// Why drops cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The kernel's types cannot be read, or lack something.
    #[error(
        "the kernel's types are needed to read its packets, and {0}: boot a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y, as distributions build theirs"
    )]
    Types(String),
    /// The kernel refuses bpf(2), or both programs.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

// === impl DropSession ===

impl DropSession {
    /// Loads and attaches the richest program that this kernel allows.
    ///
    /// # Errors
    /// When none can be.
    pub fn start(options: &DropOptions) -> Result<Self, DropError> {
        let mut session = Self::open(options)?;
        // Now, and not at the first drop. Who reads drops hears of an error then.
        let _ = session.symbols.read();
        let btf = kernel_types()?;
        if options.variant == DropVariant::Packets {
            match session.attach(DropVariant::Packets, &btf) {
                Ok(()) => return Ok(session),
                Err(error) => session.because = Some(error.degradation(lockdown().as_deref())?),
            }
        }
        session.attach(DropVariant::Places, &btf)?;
        Ok(session)
    }

    /// Which program counts.
    #[must_use]
    pub fn variant(&self) -> DropVariant {
        self.variant
    }

    /// Why it is not the richest one; `None` when it is, or when no richer one was asked for.
    #[must_use]
    pub fn because(&self) -> Option<&str> {
        self.because.as_deref()
    }

    /// Goes on with the list of functions of one that ends: that was opened with a privilege that may
    /// have been given up since.
    pub fn take_names_of(&mut self, last: Self) {
        (self.symbols, self.hidden) = (last.symbols, last.hidden);
    }

    /// Whether this kernel gives reasons (Linux 5.17 and newer).
    #[must_use]
    pub fn has_reasons(&self) -> bool {
        self.types.reasons().is_some()
    }

    /// What the program was told of the node.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What has been counted since the start.
    ///
    /// # Errors
    /// When a map or the kernel's list of symbols cannot be read.
    pub fn read(&mut self) -> anyhow::Result<DropReading> {
        let mut reading = reading::read(&self.ebpf, self.entries, &self.types, &mut self.symbols)?;
        reading.missed = self.missed()?;
        Ok(reading)
    }

    /// Creates the maps; no program is loaded yet.
    fn open(options: &DropOptions) -> Result<Self, DropError> {
        memlock::raise();
        let types = KernelTypes::read()?;
        let DropEntries { places, flows4, flows6 } = options.entries;
        let layout = types.layout(own_namespace()?, places);
        let ebpf = EbpfLoader::new()
            .override_global(names::DROP_LAYOUT, &layout, true)
            .override_global(names::CONFIG, &options.config, true)
            .map_max_entries(names::DROP_PLACES_TABLE, places)
            .map_max_entries(names::DROP_FLOWS4, flows4)
            .map_max_entries(names::DROP_FLOWS6, flows6)
            .load(OBJECT)
            .map_err(load_error)?;
        let variant = DropVariant::Places;
        let (config, entries) = (options.config, options.entries);
        let symbols = Symbols::open();
        let is_hidden = !Symbols::are_visible().unwrap_or(false);
        let hidden = is_hidden.then(Symbols::hidden_by);
        Ok(Self { ebpf, types, symbols, hidden, config, entries, variant, because: None })
    }

    fn attach(&mut self, variant: DropVariant, btf: &Btf) -> Result<(), DropError> {
        let program = program_mut(&mut self.ebpf, variant)?;
        program.load(names::KFREE_SKB, btf).map_err(|error| refusal(variant.program(), error))?;
        program.attach().context("attaching to the tracepoint kfree_skb")?;
        self.variant = variant;
        Ok(())
    }

    /// Drops that came in the middle of a run of the program on the same CPU, which the kernel
    /// counts since 6.1 instead of running it again (fdinfo, kernel/bpf/syscall.c).
    fn missed(&mut self) -> anyhow::Result<u64> {
        let program = program_mut(&mut self.ebpf, self.variant)?;
        let fd = program.fd().context("the program is not loaded")?.as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
            .context("what the kernel says of the drop program (/proc/self/fdinfo)")?;
        Ok(recursion_misses(&info))
    }
}

// === impl DropVariant ===

impl DropVariant {
    fn program(self) -> &'static str {
        match self {
            Self::Packets => names::DROP_PACKETS,
            Self::Places => names::DROP_PLACES,
        }
    }
}

// === impl DropOptions ===

impl DropOptions {
    /// The richest program, on a node of this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let entries = DropEntries::fitting(config, possible_cpus());
        Self { variant: DropVariant::Packets, config: *config, entries }
    }
}

impl Default for DropOptions {
    fn default() -> Self {
        Self::of(&Config::NONE)
    }
}

// === impl DropError ===

impl DropError {
    /// What it costs that this program was refused, if another one may be allowed. `lockdown` is
    /// what the kernel says of its lockdown, as far as that is known.
    fn degradation(self, lockdown: Option<&str>) -> Result<String, Self> {
        match self {
            // A process that may load the program at all is refused this helper by a hook of the
            // security modules, of which lockdown is one (bpf_tracing_func_proto,
            // kernel/trace/bpf_trace.c, Linux 5.10 to 6.18). aya replaces it by its older form
            // where it is missing.
            Self::Refused(Refusal::Verifier { reason, .. })
                if reason.contains("bpf_probe_read") =>
            {
                let is_lockdown = lockdown.is_some_and(|it| it.contains("[confidentiality]"));
                let who = if is_lockdown { LOCKED_DOWN } else { MAYBE_LOCKED_DOWN };
                Ok(format!("{who} forbids bpf_probe_read_kernel"))
            }
            Self::Refused(refusal @ Refusal::Verifier { .. }) => Ok(refusal.to_string()),
            other => Err(other),
        }
    }
}

impl From<BtfError> for DropError {
    fn from(error: BtfError) -> Self {
        Self::Types(error.to_string())
    }
}

/// What the kernel says of its lockdown.
fn lockdown() -> Option<String> {
    fs::read_to_string(LOCKDOWN).ok()
}

/// What the programs are told of this kernel, for some namespace; `None` when the kernel's types
/// cannot be read.
pub(super) fn any_layout() -> Option<Layout> {
    Some(KernelTypes::read().ok()?.layout(1, PLACES))
}

/// The kernel's types once more, as aya wants them to find the tracepoint.
fn kernel_types() -> anyhow::Result<Btf> {
    Btf::from_sys_fs().context("the kernel's types")
}

fn program_mut(ebpf: &mut Ebpf, variant: DropVariant) -> anyhow::Result<&mut BtfTracePoint> {
    let name = variant.program();
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    program.try_into().context("the object's program has another type")
}

fn refusal(program: &'static str, error: ProgramError) -> DropError {
    match Refusal::of_program(program, error, &NEEDED) {
        Ok(refusal) => DropError::Refused(refusal),
        Err(error) => DropError::Other(error.into()),
    }
}

fn load_error(error: EbpfError) -> DropError {
    match Refusal::of_object(error, &NEEDED) {
        Ok(refusal) => DropError::Refused(refusal),
        Err(error) => DropError::Other(anyhow::Error::from(error).context("loading the object")),
    }
}

/// What fdinfo says of calls that were not handed over; kernels before 6.1 hand over all.
fn recursion_misses(info: &str) -> u64 {
    let number = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// The number of the calling thread's network namespace, as the kernel has it in `net.ns.inum`.
fn own_namespace() -> anyhow::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let path = "/proc/thread-self/ns/net";
    let inode = fs::metadata(path).with_context(|| format!("which namespace this is ({path})"))?;
    u32::try_from(inode.ino()).context("the number of this network namespace")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn calls_that_the_kernel_kept_are_read_from_its_own_count() {
        let info = "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t7\n";
        assert_eq!(recursion_misses(info), 7);
        assert_eq!(recursion_misses("pos:\t0\n"), 0);
    }

    #[test]
    fn a_refused_helper_degrades_and_a_refused_process_does_not() {
        let refused = |reason: &str| {
            DropError::Refused(Refusal::Verifier {
                program: "p".to_owned(),
                reason: reason.to_owned(),
            })
        };
        for reason in [
            "unknown func bpf_probe_read_kernel#113",
            "program of this type cannot use helper bpf_probe_read#4",
        ] {
            let said = |lockdown| refused(reason).degradation(lockdown).unwrap();
            let because = said(Some("none integrity [confidentiality]\n"));
            assert!(because.starts_with("lockdown=confidentiality forbids"), "{because}");
            for other in [Some("[none] integrity confidentiality\n"), None] {
                assert!(said(other).starts_with("lockdown or a security module forbids"));
            }
        }
        let because = refused("R1 is bad").degradation(None).unwrap();
        assert!(because.starts_with("the kernel refuses program p: R1 is bad"), "{because}");
        let error = io::ErrorKind::PermissionDenied.into();
        let error = DropError::Refused(Refusal::Privileges { needed: String::new(), error });
        assert!(matches!(error.degradation(None), Err(DropError::Refused(_))));
    }
}
