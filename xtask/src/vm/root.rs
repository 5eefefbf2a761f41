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
const FOLDERS: [&str; 6] =
    ["etc/iproute2", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "usr/share/iproute2"];
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
    let packages = packages();
    let whole = format!("{}: {}", RELEASE.name(), packages.join(" "));
    // Another list than that of this commit is fetched again.
    if fs::read_to_string(folder.join(COMPLETE)).ok().as_deref() != Some(&whole) {
        from_first_place((RELEASE, architecture), &folder, |apt| {
            apt.unpack_with_needs(&packages, &root)
        })
        .with_context(|| format!("the lab's programs of Debian {}", RELEASE.name()))?;
        let _ = fs::remove_dir_all(folder.join("apt"));
        fs::write(folder.join(COMPLETE), whole).context("the cache")?;
    }
    Ok(root)
}

/// The packages that a guest has programs of, each once.
fn packages() -> Vec<&'static str> {
    let lab = setup::LAB_PROGRAMS.iter().map(|(_, package)| *package);
    let mut packages: Vec<&str> = lab.chain(OTHERS).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_below_a_root_comes_into_the_archive_and_links_stay_links() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for folder in ["etc", "usr/bin", "usr/lib64", "usr/share/doc"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        for file in ["etc/protocols", "etc/services", "usr/lib64/ld.so", "usr/share/doc/text"] {
            fs::write(at(file), file).expect("a file");
        }
        symlink("dash", at("usr/bin/sh")).expect("a link to what is not there");
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        add_all(&mut archive, root.path()).expect("it can be read");
        let has = |path| archive.has(path);
        assert!(has("/usr/bin/sh") && has("/usr/lib64/ld.so") && has("/usr/sbin/iptables"));
        assert!(!has("/usr/share/doc/text"));
    }
}
