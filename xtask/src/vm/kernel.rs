//! Kernels to boot: Debian's, fetched by apt into the cache, or a directory of the user's.
//!
//! What the cache has is never fetched again. What is gone from Debian's mirrors comes from their
//! snapshots ([`super::debian`]).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::architecture::Architecture;
use super::debian::{Apt, Release, first, from_first_place};
use crate::shell;

/// A kernel line, and the release of Debian that has it.
const LINES: [(&str, Release); 4] = [
    ("5.10", Release::of("bullseye")),
    ("6.1", Release::of("bookworm")),
    ("6.12", Release::of("trixie")),
    ("7.2", Release::backports("trixie-backports")),
];
/// How many versions are tried in a place: its index names some that are gone.
const TRIES: usize = 4;
/// What every kernel has beside its modules: without it nobody knows what it lacks.
const BUILT_IN: &str = "modules.builtin";
/// What is in a folder of the cache that was filled to the end.
pub(super) const COMPLETE: &str = "complete";

/// A kernel with its modules.
pub(super) struct Kernel {
    /// The image that QEMU boots.
    pub(super) image: PathBuf,
    /// `lib/modules/VERSION`.
    pub(super) modules: PathBuf,
}

/// Debian's lines.
pub(super) fn lines() -> Vec<String> {
    LINES.iter().map(|(line, ..)| (*line).to_owned()).collect()
}

// === impl Kernel ===

impl Kernel {
    /// Its version, as `uname -r` says it in a guest.
    pub(super) fn release(&self) -> Option<&str> {
        self.modules.file_name()?.to_str()
    }

    /// A Debian line for a processor, from the cache or the archive, or what is in a directory.
    pub(super) fn get(name: &str, architecture: Architecture) -> Result<Self> {
        if let Some((line, release)) = LINES.iter().find(|(line, ..)| *line == name) {
            let folder = cache("kernels")?.join(architecture.words().trim()).join(line);
            let kept = folder.join(COMPLETE).exists().then(|| Self::in_folder(&folder));
            // One that was fetched without its package linux-base lacks that list.
            if !kept.is_some_and(|it| it.is_ok_and(|it| it.modules.join(BUILT_IN).exists())) {
                fetch(line, (*release, architecture), &folder)?;
            }
            return Self::in_folder(&folder);
        }
        if !Path::new(name).is_dir() {
            bail!("{name} is neither a kernel line ({}) nor a directory", lines().join(", "));
        }
        Self::in_folder(Path::new(name))
    }

    /// `modules.dep` is made when it is missing.
    fn in_folder(folder: &Path) -> Result<Self> {
        let modules = only_folder_in(&folder.join("lib/modules"))?;
        let dependencies = modules.join("modules.dep");
        if !dependencies.exists() {
            let version = modules.file_name().context("a version")?;
            shell::run(shell::command("depmod").arg("-b").arg(folder).arg(version))?;
        }
        let image = fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(is_image))
            .with_context(|| format!("no vmlinuz in {}", folder.display()))?;
        Ok(Self { image, modules })
    }
}

fn is_image(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with("vmlinuz")
}

fn only_folder_in(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("no modules in {}: want lib/modules/VERSION", folder.display()))?;
    let mut folders = entries.filter_map(|it| Some(it.ok()?.path())).filter(|it| it.is_dir());
    match (folders.next(), folders.next()) {
        (Some(only), None) => Ok(only),
        _ => bail!("{} must hold the modules of one kernel", folder.display()),
    }
}

/// Where things are kept for the next run, and for other clones of this repository.
pub(super) fn cache(what: &str) -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("flannel-tracer").join(what))
}

/// Fetches the newest package of a line that is still to be had, and lays it out as `vmlinuz` and
/// `lib/modules/VERSION`.
fn fetch(line: &str, of: (Release, Architecture), folder: &Path) -> Result<()> {
    let (release, architecture) = of;
    eprintln!("vm: fetching Linux {line}{}", architecture.words());
    let flavour = format!("-cloud-{}", architecture.debian());
    let pattern = format!("^linux-image-{}\\..*{flavour}$", line.replace('.', "\\."));
    from_first_place(of, folder, |apt| {
        let versions = newest(&apt.search(&pattern)?);
        ensure!(!versions.is_empty(), "no package");
        first(&versions, |version| unpack(apt, version, &folder.join("unpacked")))
    })
    .with_context(|| gone(line, release.name()))?;
    lay_out(folder)
}

/// Newer packages are split: the image's has nothing in it but its needs.
fn unpack(apt: &Apt, version: &str, folder: &Path) -> Result<()> {
    let split =
        ["linux-base", "linux-binary", "linux-modules"].map(|kind| format!("{kind}-{version}"));
    let whole = [format!("linux-image-{version}")];
    let is_split = split.iter().all(|package| apt.has(package));
    apt.unpack(version, if is_split { &split } else { &whole }, folder)
}

/// What is said of a line that is not, or no more, in its release.
fn gone(line: &str, release: &str) -> String {
    format!(
        "no Linux {line} of Debian {release} can be fetched: name a kernel of your own with \
         `--kernel DIR`, or correct the table LINES in {}",
        file!()
    )
}

fn lay_out(folder: &Path) -> Result<()> {
    let unpacked = folder.join("unpacked");
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path));
    let modules = modules.iter().find(|path| path.is_dir()).context("a package without modules")?;
    let modules = only_folder_in(modules)?;
    let version = modules.file_name().context("a version")?.to_owned();
    // In /boot, or beside the modules in newer packages.
    let image = fs::read_dir(unpacked.join("boot"))
        .ok()
        .and_then(|entries| {
            let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            paths.find(|path| path.file_name().is_some_and(is_image))
        })
        .unwrap_or_else(|| modules.join("vmlinuz"));
    fs::rename(&image, folder.join("vmlinuz")).context("a package without a kernel")?;
    fs::create_dir_all(folder.join("lib/modules")).context("the cache")?;
    fs::rename(&modules, folder.join("lib/modules").join(version)).context("the cache")?;
    let _ = fs::remove_dir_all(&unpacked);
    let _ = fs::remove_dir_all(folder.join("apt"));
    fs::write(folder.join(COMPLETE), "").context("the cache")
}

/// The versions, the newest first, of packages that apt-cache(8) lists.
fn newest(listed: &str) -> Vec<String> {
    let names = listed.lines().filter_map(|it| it.split(' ').next()?.strip_prefix("linux-image-"));
    let mut versions: Vec<String> = names.map(str::to_owned).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
    versions.truncate(TRIES);
    versions
}

/// The numbers in a version, for the order of versions.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(numbers("5.10.0-46-cloud-amd64") > numbers("5.10.0-9-cloud-amd64"));
        assert!(numbers("6.12.117+deb13-cloud-amd64") > numbers("6.12.96+deb13-cloud-amd64"));
    }

    #[test]
    fn the_newest_versions_of_a_list_are_tried() {
        let listed = (1..=9).map(|it| format!("linux-image-6.1.0-{it}-cloud-amd64 - Linux 6.1\n"));
        let listed: String = listed.collect();
        let expected = [9, 8, 7, 6].map(|it| format!("6.1.0-{it}-cloud-amd64"));
        assert_eq!(newest(&listed), expected);
        assert!(newest("").is_empty());
    }

    #[test]
    fn a_line_that_is_gone_is_told_with_the_ways_around_it() {
        let words = gone("5.10", "bullseye");
        assert!(words.contains("`--kernel DIR`"), "{words}");
        assert!(words.contains("LINES in xtask/src/vm/kernel.rs"), "{words}");
    }

    #[test]
    fn a_kernel_that_is_neither_line_nor_directory_is_an_error_with_the_lines() {
        let error =
            Kernel::get("4.19", Architecture::X86_64).err().expect("no such line").to_string();
        assert!(error.contains("5.10, 6.1"), "{error}");
    }
}
