//! Which Rust toolchain builds the eBPF programs.
//!
//! The bpf targets are tier 3: rustup ships no `core` for them. A nightly toolchain with its
//! sources builds one (`-Z build-std`); Debian packages one ready-made, which rustup reaches
//! through a linked toolchain. `tracer/build.rs` includes this file by its path, so that a build
//! and `cargo xtask setup` never disagree; it therefore depends on nothing but `std`.

use std::path::PathBuf;
use std::process::Command;

/// A toolchain that can compile for bpf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BpfToolchain {
    /// rustup's nightly with `rust-src`; `core` is compiled along with the programs.
    Nightly,
    /// A toolchain linked to an installation that brings `core` for bpf with it.
    Packaged,
}

impl BpfToolchain {
    /// The toolchain to build with here, the best one first.
    pub(crate) fn detect() -> Option<Self> {
        [Self::Nightly, Self::Packaged]
            .into_iter()
            .find(|toolchain| toolchain.proof().is_some_and(|path| path.exists()))
    }

    /// The name by which rustup knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nightly => "nightly",
            Self::Packaged => "bpf",
        }
    }

    /// The path whose existence shows that `core` can be had for bpf, if rustup has the toolchain.
    pub(crate) fn proof(self) -> Option<PathBuf> {
        let rustlib = sysroot(self.name())?.join("lib/rustlib");
        Some(match self {
            Self::Nightly => rustlib.join("src/rust/library/Cargo.lock"),
            Self::Packaged => rustlib.join(if cfg!(target_endian = "big") {
                "bpfeb-unknown-none"
            } else {
                "bpfel-unknown-none"
            }),
        })
    }
}

/// Where a toolchain of rustup's lives; none when it is not installed, or rustup is not.
fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        // Looking for a toolchain must not download it.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}
