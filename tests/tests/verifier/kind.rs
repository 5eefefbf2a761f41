use anyhow::{Context as _, Result};
use aya_obj::{
    ProgramSection,
    btf::{Btf, BtfKind},
};
use rustix::thread::CapabilitySet;

/// What the kernel is to take a program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For tc and TCX.
    Classifier,
    /// On a tracepoint, with typed arguments.
    Tracepoint,
    /// At a function's entry, with typed arguments.
    Entry,
    /// At a function's entry, with the registers.
    Probe,
}

/// How the kernel is told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// `enum bpf_prog_type` (include/uapi/linux/bpf.h).
    pub(crate) program_type: u32,
    /// `enum bpf_attach_type`.
    pub(crate) attach_type: u32,
    /// The type that the kernel's BTF has for the hook.
    pub(crate) hook: u32,
}

// === impl Kind ===

impl Kind {
    /// # Errors
    /// When the object has a kind of program that this suite does not know yet.
    pub(crate) fn of(section: &ProgramSection) -> Result<Self> {
        Ok(match section {
            ProgramSection::SchedClassifier => Self::Classifier,
            ProgramSection::BtfTracePoint => Self::Tracepoint,
            ProgramSection::FEntry { .. } => Self::Entry,
            ProgramSection::KProbe => Self::Probe,
            other => anyhow::bail!("a program in {other:?}: add its kind to this suite"),
        })
    }

    /// Whether the kernel looks at the types of such a program.
    pub(crate) const fn is_typed(self) -> bool {
        matches!(self, Self::Tracepoint | Self::Entry)
    }

    /// What the kernel asks of a process that loads such a program.
    pub(crate) const fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Classifier => CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN),
            Self::Tracepoint | Self::Entry | Self::Probe => {
                CapabilitySet::BPF.union(CapabilitySet::PERFMON)
            }
        }
    }

    /// How to tell the kernel. `hook` names the tracepoint or the function.
    ///
    /// # Errors
    /// When this kernel has no such hook, or no types.
    pub(crate) fn told(self, hook: Option<&str>) -> Result<Told> {
        let hook = || hook.context("the object names no hook for its tracing programs");
        Ok(match self {
            Self::Classifier => Told { program_type: 3, ..Told::default() },
            Self::Probe => Told { program_type: 2, ..Told::default() },
            Self::Tracepoint => {
                let hook = type_of(&format!("btf_trace_{}", hook()?), BtfKind::Typedef)?;
                Told { program_type: 26, attach_type: 23, hook }
            }
            Self::Entry => {
                Told { program_type: 26, attach_type: 24, hook: type_of(hook()?, BtfKind::Func)? }
            }
        })
    }
}

fn type_of(name: &str, kind: BtfKind) -> Result<u32> {
    let btf = Btf::from_sys_fs().context("this kernel shows no BTF")?;
    btf.id_by_type_name_kind(name, kind).with_context(|| format!("this kernel has no {name}"))
}
