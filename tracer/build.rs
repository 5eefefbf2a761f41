//! Builds the eBPF programs into `OUT_DIR/flannel-tracer-ebpf`, which the loader embeds.

use std::env;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

use bpf_toolchain::BpfToolchain;

#[path = "../xtask/src/bpf_toolchain.rs"]
mod bpf_toolchain;

fn main() -> Result<()> {
    let linker = which::which("bpf-linker")
        .context("bpf-linker is not on the PATH; run `cargo xtask setup`")?;
    let toolchain = BpfToolchain::detect().context(
        "no Rust toolchain here can build eBPF programs: rustup has neither `nightly` with \
         rust-src nor one named `bpf` that brings core for bpf; run `cargo xtask setup`",
    )?;
    rerun_if_changed(&linker);
    if let Some(proof) = toolchain.proof() {
        rerun_if_changed(&proof);
    }
    // What both sides share; aya-build watches the programs' own folder only.
    rerun_if_changed(Path::new("../tracer-common"));
    rerun_if_changed(Path::new("../xtask/src/bpf_toolchain.rs"));
    rerun_if_changed(Path::new("build.rs"));
    build_programs(toolchain)
}

fn rerun_if_changed(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}

fn build_programs(toolchain: BpfToolchain) -> Result<()> {
    prepare_environment(toolchain);
    let package = Package { name: "tracer-ebpf", root_dir: "../tracer-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain.name()))
        .context("the eBPF programs did not build; the compiler's words are above")
}

/// Prepares the environment that the inner cargo inherits from this process.
///
/// The rest of what the outer cargo leaves there (`RUSTUP_TOOLCHAIN`, `RUSTC`, `RUSTFLAGS`, clippy's
/// wrapper) is set anew or removed by `rustup run` and by aya-build.
fn prepare_environment(toolchain: BpfToolchain) {
    // Each line of progress would come out as a warning of this build script.
    set_variable("CARGO_TERM_QUIET", "true");
    if toolchain == BpfToolchain::Packaged {
        // aya-ebpf uses nightly features. Naming it makes a stable compiler accept them there and
        // nowhere else, and keeps aya-build from asking for a `core` of its own.
        set_variable("RUSTC_BOOTSTRAP", "aya_ebpf");
    }
}

fn set_variable(name: &str, value: &str) {
    // SAFETY: this process has no second thread yet that could read the environment.
    unsafe { env::set_var(name, value) };
}
