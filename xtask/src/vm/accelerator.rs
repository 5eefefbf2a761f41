//! KVM where it works, else interpretation.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;

use super::architecture::Architecture;
use super::console::{Expected, Outcome};
use super::guest::{Guest, Limits};
use super::initramfs;
use super::kernel::Kernel;

/// A guest without suites boots in two seconds under KVM. Where KVM is there but does not work
/// (seen in nested guests) it fails at once or says nothing.
const PROBE: Limits = Limits { silence: Duration::from_secs(10), total: Duration::from_secs(20) };

/// How QEMU runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// By the processor.
    Kvm,
    /// By translating them, about ten times slower.
    Tcg,
}

// === impl Accelerator ===

impl Accelerator {
    /// Words for the guest's kernel. Interpreted, it is spared what costs a translator most: leaving
    /// the page tables at every system call, indirect branches in disguise, a clock read from a
    /// device, waiting for grace periods, and huge pages: where one goes, it forgets all pages that it has
    /// translated. None of them is seen by the verifier, as `mitigations=off` would be: without
    /// mitigations programs need no CAP_PERFMON (`bpf_bypass_spec_v1`, include/linux/bpf.h, 6.12).
    pub(super) const fn kernel_arguments(self, architecture: Architecture) -> &'static str {
        match (self, architecture) {
            (Self::Kvm, _) => "",
            (Self::Tcg, Architecture::X86_64) => {
                "pti=off spectre_v2=off retbleed=off tsc=reliable rcupdate.rcu_expedited=1 \
                 transparent_hugepage=never"
            }
            (Self::Tcg, Architecture::Arm64) => {
                "kpti=off nospectre_v2 nospectre_bhb rcupdate.rcu_expedited=1 \
                 transparent_hugepage=never"
            }
        }
    }

    /// QEMU's options.
    pub(super) const fn options(self, architecture: Architecture) -> [&'static str; 4] {
        match (self, architecture) {
            (Self::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
            (Self::Tcg, Architecture::X86_64) => ["-accel", "tcg", "-cpu", "max"],
            // The newest signs its pointers, which costs an interpreter dear.
            (Self::Tcg, Architecture::Arm64) => ["-accel", "tcg", "-cpu", "cortex-a72"],
        }
    }
}

/// KVM when a guest without suites, of the first process `init`, boots under it. It is tried once, and
/// never for a processor that is not this machine's.
pub(super) fn choose<'a>(
    architecture: Architecture,
    kernels: impl Iterator<Item = &'a Result<Kernel>>,
    init: &Path,
    folder: &Path,
) -> Result<Accelerator> {
    static CHOSEN: OnceLock<Accelerator> = OnceLock::new();
    if architecture.cross().is_some() {
        return Ok(Accelerator::Tcg);
    }
    match CHOSEN.get() {
        Some(chosen) => Ok(*chosen),
        None => try_kvm(architecture, kernels, init, folder)
            .map(|chosen| *CHOSEN.get_or_init(|| chosen)),
    }
}

fn try_kvm<'a>(
    architecture: Architecture,
    mut kernels: impl Iterator<Item = &'a Result<Kernel>>,
    init: &Path,
    folder: &Path,
) -> Result<Accelerator> {
    let may_use_kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let kernel = kernels.find_map(|kernel| kernel.as_ref().ok());
    let Some(kernel) = kernel.filter(|_| may_use_kvm) else {
        eprintln!("vm: no KVM for this user; the guests are interpreted");
        return Ok(Accelerator::Tcg);
    };
    let (image, log) = (folder.join("probe.cpio"), folder.join("probe.log"));
    initramfs::write_bare(init, &image)?;
    let accelerator = Accelerator::Kvm;
    let expected = &Expected::default();
    let machine = (architecture, accelerator);
    let probe = Guest { kernel, image: &image, machine, append: "", log: &log, expected };
    let verdict = probe.run(&PROBE)?.verdict;
    if matches!(verdict.outcome, Outcome::Ran { .. }) {
        eprintln!("vm: KVM works");
        return Ok(Accelerator::Kvm);
    }
    eprintln!("vm: under KVM, {}; the guests are interpreted", verdict.outcome);
    Ok(Accelerator::Tcg)
}
