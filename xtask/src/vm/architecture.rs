//! The processor that a guest has: this machine's, or another that QEMU interprets.

use std::env::consts::ARCH;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::build::Cross;
use crate::packages::Provider;

/// A processor that Debian, Rust and QEMU know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Architecture {
    /// 64-bit x86
    #[value(name = "x86-64")]
    X86_64,
    /// 64-bit ARM: a Raspberry Pi 4's, where it is interpreted
    Arm64,
}

// === impl Architecture ===

impl Architecture {
    /// This machine's.
    pub(super) fn here() -> Result<Self> {
        match ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("guests need a machine of x86-64 or ARM64, this is {other}"),
        }
    }

    /// How to build for it, where it is not this machine's.
    pub(super) fn cross(self) -> Option<Cross> {
        let (triple, gnu) = match self {
            Self::X86_64 => ("x86_64-unknown-linux-gnu", "x86_64-linux-gnu"),
            Self::Arm64 => ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu"),
        };
        (Self::here().ok() != Some(self)).then_some(Cross { triple, gnu })
    }

    /// Debian's name.
    pub(super) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What its guests need of this machine, and what builds for them.
    pub(super) fn programs(self) -> Vec<Provider> {
        let (qemu, compiler): (Provider, Provider) = match self {
            Self::X86_64 => (
                ("qemu-system-x86_64", "qemu-system-x86"),
                ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
            ),
            Self::Arm64 => (
                ("qemu-system-aarch64", "qemu-system-arm"),
                ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
            ),
        };
        let compiler = self.cross().map(|_| compiler);
        [qemu].into_iter().chain(compiler).collect()
    }

    /// The headers and libraries of its C, for [`Self::cross`].
    pub(super) const fn libc(self) -> &'static str {
        match self {
            Self::X86_64 => "libc6-dev-amd64-cross",
            Self::Arm64 => "libc6-dev-arm64-cross",
        }
    }

    /// QEMU for it, and its options for the machine around it.
    pub(super) const fn qemu(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::X86_64 => ("qemu-system-x86_64", &[]),
            Self::Arm64 => ("qemu-system-aarch64", &["-machine", "virt,gic-version=max"]),
        }
    }

    /// The device of QEMU's first serial line.
    pub(super) const fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }

    /// What a row says of it: nothing of the usual one.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Arm64 => " arm64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cross_built_for_the_machine_itself() {
        let here = Architecture::here().expect("guests can be had here");
        for architecture in [Architecture::X86_64, Architecture::Arm64] {
            let is_other = architecture != here;
            assert_eq!(architecture.cross().is_some(), is_other);
            assert_eq!(architecture.programs().len(), 1 + usize::from(is_other));
        }
    }
}
