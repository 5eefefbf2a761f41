//! The lab's programs for a processor that is not this machine's: Debian's packages, unpacked below a
//! folder of the cache. Their scripts are not run: what those would link is linked here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use super::cpio::Archive;
use super::debian::{Release, from_first_place};
use super::kernel::{COMPLETE, cache};
use crate::setup;

/// Whose packages: iproute2 knows what the newest kernels have.
const RELEASE: Release = Release::of("trixie");
/// What the rest of a guest's programs come from, as [`super::programs`] has them.
const OTHERS: [&str; 4] = ["coreutils", "dash", "kmod", "netbase"];
/// Folders that a guest has something from.
const FOLDERS: [&str; 5] = ["etc/iproute2", "usr/bin", "usr/lib", "usr/sbin", "usr/share/iproute2"];
/// By which program update-alternatives(1) has these names run.
const ALTERNATIVES: [(&str, &str); 6] = [
    ("ip6tables", "ip6tables-nft"),
    ("ip6tables-restore", "ip6tables-nft-restore"),
    ("ip6tables-save", "ip6tables-nft-save"),
    ("iptables", "iptables-nft"),
    ("iptables-restore", "iptables-nft-restore"),
    ("iptables-save", "iptables-nft-save"),
];

/// The folder with the programs of a processor, from the cache or from Debian.
pub(super) fn get(architecture: Architecture) -> Result<PathBuf> {
    let folder = cache("programs")?.join(architecture.debian());
    let root = folder.join("root");
    if !folder.join(COMPLETE).exists() {
        let mut packages: Vec<&str> =
            setup::LAB_PROGRAMS.iter().map(|(_, package)| *package).collect();
        packages.extend(OTHERS);
        packages.sort_unstable();
        packages.dedup();
        from_first_place((RELEASE, architecture), &folder, |apt| {
            apt.unpack_with_needs(&packages, &root)
        })
        .with_context(|| format!("the lab's programs of {}", RELEASE.name()))?;
        let _ = fs::remove_dir_all(folder.join("apt"));
        fs::write(folder.join(COMPLETE), "").context("the cache")?;
    }
    Ok(root)
}

/// Adds every program, library and table below a root at its own path.
pub(super) fn add_all(archive: &mut Archive<impl Write>, root: &Path) -> Result<()> {
    for (name, program) in ALTERNATIVES {
        archive.link(&format!("/usr/sbin/{name}"), program)?;
    }
    for table in ["etc/protocols", "etc/services"] {
        add(archive, root, &root.join(table))?;
    }
    FOLDERS
        .iter()
        .map(|folder| root.join(folder))
        .filter(|folder| folder.is_dir())
        .try_for_each(|folder| add_below(archive, root, &folder))
}

fn add_below(archive: &mut Archive<impl Write>, root: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        match path.is_dir() && !path.is_symlink() {
            true => add_below(archive, root, &path)?,
            false => add(archive, root, &path)?,
        }
    }
    Ok(())
}

/// Links stay links: they are those of the root.
fn add(archive: &mut Archive<impl Write>, root: &Path, path: &Path) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let at = path.strip_prefix(root).context("below the root")?.display().to_string();
    let metadata = path.symlink_metadata().with_context(cannot)?;
    if metadata.is_symlink() {
        let to = fs::read_link(path).with_context(cannot)?;
        return Ok(archive.link(&at, &to.display().to_string())?);
    }
    let content = fs::read(path).with_context(cannot)?;
    Ok(archive.file(&at, &content)?)
}
