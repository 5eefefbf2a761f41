//! Who changes a table: a program on `rtnetlink_rcv_msg`, which runs in the sender's context for
//! every request for links, addresses, routes, neighbours and FDB entries
//! (net/core/rtnetlink.c, 5.10 to 7.2). For now it counts the requests.

use std::fmt;

use anyhow::Context as _;
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::PerCpuArray,
    programs::{FEntry, KProbe, Program, ProgramError, kprobe::KProbeError},
};
use tracer_common::change;

use super::{memlock, privileges::Privilege, refusal::Refusal};

/// The kernel's function for every request.
pub(super) const FUNCTION: &str = "rtnetlink_rcv_msg";
/// What it takes to load and attach either program.
const NEEDED: [Privilege; 2] = [Privilege::Bpf, Privilege::Perfmon];

/// The object, built by build.rs: apart from that of the stages, so that nothing of it can keep
/// them from loading.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flannel-tracer-changes"));

/// An attached program. Dropping it detaches it.
pub struct Changes {
    ebpf: Ebpf,
    way: Way,
}

/// How it is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Fentry,
    Kprobe,
}

/// Why it is not, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Nothing can be loaded.
    #[error("{0:#}")]
    Object(anyhow::Error),
    /// Neither way to attach works here.
    #[error("fentry on {FUNCTION}: {fentry:#}; kprobe: {kprobe:#}")]
    Neither {
        /// Why not fentry.
        fentry: anyhow::Error,
        /// Why not a kprobe.
        kprobe: anyhow::Error,
    },
}

// === impl Changes ===

impl Changes {
    /// Attaches by fentry, which needs type information, else by a kprobe.
    ///
    /// # Errors
    /// When the kernel refuses both.
    pub fn start() -> Result<Self, ChangesError> {
        memlock::raise();
        let mut ebpf = load().map_err(ChangesError::Object)?;
        let fentry = match Way::Fentry.attach(&mut ebpf) {
            Ok(()) => return Ok(Self { ebpf, way: Way::Fentry }),
            Err(error) => error,
        };
        tracing::debug!("no fentry on {FUNCTION}: {fentry:#}; using a kprobe");
        match Way::Kprobe.attach(&mut ebpf) {
            Ok(()) => Ok(Self { ebpf, way: Way::Kprobe }),
            Err(kprobe) => Err(ChangesError::Neither { fentry, kprobe }),
        }
    }

    /// How it is attached, in words.
    #[must_use]
    pub fn way(&self) -> String {
        format!("{} on {FUNCTION}", self.way)
    }

    /// Requests of a type (`RTM_…`) of the whole machine since the start.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn requests(&self, message_type: u16) -> anyhow::Result<u64> {
        let map = self.ebpf.map(change::REQUESTS).context("the object has no map of requests")?;
        let requests: PerCpuArray<_, u64> = map.try_into()?;
        let counts =
            requests.get(&change::slot(message_type), 0).context("reading the requests")?;
        Ok(counts.iter().sum())
    }
}

// === impl Way ===

impl Way {
    fn attach(self, ebpf: &mut Ebpf) -> anyhow::Result<()> {
        match self {
            Self::Fentry => fentry(program(ebpf, change::FENTRY)?.try_into()?),
            Self::Kprobe => kprobe(program(ebpf, change::KPROBE)?.try_into()?),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        })
    }
}

fn load() -> anyhow::Result<Ebpf> {
    EbpfLoader::new().load(OBJECT).map_err(|error| match Refusal::of_object(error, &NEEDED) {
        Ok(refusal) => refusal.into(),
        Err(error) => anyhow::Error::from(error).context("loading the eBPF object"),
    })
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Program> {
    ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
}

fn fentry(program: &mut FEntry) -> anyhow::Result<()> {
    let types = Btf::from_sys_fs().context("the kernel's type information")?;
    program.load(FUNCTION, &types).map_err(|error| refused(change::FENTRY, error))?;
    program.attach().context("attaching")?;
    Ok(())
}

fn kprobe(program: &mut KProbe) -> anyhow::Result<()> {
    program.load().map_err(|error| refused(change::KPROBE, error))?;
    match program.attach(FUNCTION, 0) {
        Ok(_) => Ok(()),
        Err(ProgramError::KProbeError(KProbeError::FileError { filename, .. })) => {
            let file = filename.display();
            anyhow::bail!("this kernel has none (CONFIG_KPROBE_EVENTS; there is no {file})")
        }
        Err(error) => Err(error).context("attaching"),
    }
}

fn refused(program: &str, error: ProgramError) -> anyhow::Error {
    match Refusal::of_program(program, error, &NEEDED) {
        Ok(refusal) => refusal.into(),
        Err(error) => error.into(),
    }
}
