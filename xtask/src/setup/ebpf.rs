//! The compiler and the linker of the eBPF programs.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::note;
use crate::bpf_toolchain::BpfToolchain;
use crate::{packages, shell};

/// Debian's Rust for the web: newer than the distribution's own, with `core` for bpf.
const PACKAGED_RUST: [&str; 4] =
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];

/// Where those packages put their `bin` and `lib`.
const PACKAGED_PREFIX: &str = "/usr";

/// The bpf-linker this project is built with.
const LINKER_VERSION: &str = "0.13.0";

/// A download that has not ended by then is not going to.
const DOWNLOAD_SECONDS: &str = "300";

/// Makes sure that something can compile for bpf, and says which way was taken.
pub(super) fn toolchain() -> Result<BpfToolchain> {
    if shell::find("rustup").is_none() {
        bail!(
            "rustup is missing; \
             `curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh` adds it"
        );
    }
    if let Some(toolchain) = BpfToolchain::detect() {
        note("eBPF compiler", &format!("{}, present", way(toolchain)));
        return Ok(toolchain);
    }
    if !install_nightly() {
        note("eBPF compiler", "rustup could not get nightly's rust-src, trying the distribution");
        install_packaged()?;
    }
    let toolchain = BpfToolchain::detect().context(
        "the installed toolchain still has no core for bpf; see `rustup toolchain list`",
    )?;
    note("eBPF compiler", &format!("{}, installed", way(toolchain)));
    Ok(toolchain)
}

/// Makes sure that there is a bpf-linker: the released program, else one built for this LLVM.
pub(super) fn linker(toolchain: BpfToolchain) -> Result<()> {
    if shell::find("bpf-linker").is_some() {
        note("bpf-linker", "present");
        return Ok(());
    }
    if download_linker() {
        note("bpf-linker", &format!("{LINKER_VERSION}, the released program, installed"));
        return Ok(());
    }
    let llvm = llvm_major(toolchain)?;
    note("bpf-linker", &format!("no released program to be had, building it with LLVM {llvm}"));
    build_linker(llvm)?;
    note("bpf-linker", &format!("{LINKER_VERSION}, built with LLVM {llvm}, installed"));
    Ok(())
}

fn way(toolchain: BpfToolchain) -> &'static str {
    match toolchain {
        BpfToolchain::Nightly => "rustup's nightly with rust-src",
        BpfToolchain::Packaged => "the toolchain linked as `bpf`, with the distribution's core",
    }
}

/// An installed nightly keeps its version; it only gets the sources.
fn install_nightly() -> bool {
    let mut command = shell::command("timeout");
    command
        .args([DOWNLOAD_SECONDS, "rustup"])
        .env("RUSTUP_MAX_RETRIES", "1")
        .env("RUST_BACKTRACE", "0");
    if has_nightly() {
        command.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
    } else {
        command.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        command.args(["--component", "rust-src", "--no-self-update"]);
    }
    shell::run(&mut command).is_ok()
}

fn has_nightly() -> bool {
    let mut command = shell::command("rustup");
    command.args(["run", "nightly", "rustc", "--version"]).env("RUSTUP_AUTO_INSTALL", "0");
    shell::succeeds(&mut command)
}

fn install_packaged() -> Result<()> {
    let missing: Vec<_> =
        PACKAGED_RUST.into_iter().filter(|package| !packages::is_installed(package)).collect();
    packages::install(&missing).context(
        "no Rust for bpf: with access to static.rust-lang.org, \
         `rustup toolchain install nightly --component rust-src` adds it",
    )?;
    let name = BpfToolchain::Packaged.name();
    shell::run(shell::command("rustup").args(["toolchain", "link", name, PACKAGED_PREFIX]))
}

/// Unpacks the release of the bpf-linker project beside cargo's other programs.
fn download_linker() -> bool {
    let archive = format!(
        "https://github.com/aya-rs/bpf-linker/releases/download/v{LINKER_VERSION}/\
         bpf-linker-{}-unknown-linux-musl.tar.zst",
        env::consts::ARCH
    );
    let Some(folder) = cargo_bin() else { return false };
    let unpack = "set -o pipefail; curl --fail --silent --location --max-time \"$1\" \"$2\" \
                  | tar --extract --zstd --directory \"$3\" bpf-linker";
    let mut command = shell::command("bash");
    command.args(["-c", unpack, "bash", DOWNLOAD_SECONDS, &archive]).arg(&folder);
    shell::succeeds(&mut command)
        && shell::succeeds(shell::command(folder.join("bpf-linker")).arg("--version"))
}

/// Where `cargo install` puts programs.
fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    Some(home.join("bin"))
}

fn build_linker(llvm: u32) -> Result<()> {
    let package = format!("llvm-{llvm}-dev");
    if !packages::is_installed(&package) {
        packages::install(&[&package])
            .context("bpf-linker needs LLVM; `cargo binstall bpf-linker` adds a finished one")?;
    }
    shell::run(
        shell::cargo()
            .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
            .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}")),
    )
}

/// The LLVM of a toolchain; the linker must not be older, or it cannot read the compiler's output.
fn llvm_major(toolchain: BpfToolchain) -> Result<u32> {
    let version = shell::output(shell::command("rustup").args([
        "run",
        toolchain.name(),
        "rustc",
        "--version",
        "--verbose",
    ]))?;
    parse_llvm_major(&version).context("rustc names no LLVM version")
}

fn parse_llvm_major(version: &str) -> Option<u32> {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_what_rustc_says() {
        let said = "rustc 1.96.0\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        assert_eq!(parse_llvm_major(said), Some(22));
        assert_eq!(parse_llvm_major("rustc 1.96.0\n"), None);
        assert_eq!(parse_llvm_major("LLVM version: new\n"), None);
    }
}
