//! Prometheus' promtool, which judges a scrape of the daemon. Its Debian package also brings a
//! server that begins to run (19 MB to fetch, 94 MiB installed), so the program alone, 46 MiB, is
//! taken out of it into the cache.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{packages, shell};

/// Names the program to the suites.
pub(crate) const VARIABLE: &str = "FLANNEL_TRACER_PROMTOOL";
const PACKAGE: &str = "prometheus";
const IN_PACKAGE: &str = "usr/bin/promtool";

/// Where promtool is: on the path, else in the cache; `None` when it has to be fetched.
pub(crate) fn find() -> Option<PathBuf> {
    let cached = || cache().ok().map(|cache| cache.join(IN_PACKAGE));
    shell::find("promtool").or_else(cached).filter(|path| path.is_file())
}

/// Fetches it when it is not there.
pub(super) fn setup() -> Result<()> {
    if find().is_some() {
        super::note("promtool", "present");
        return Ok(());
    }
    if !packages::has_apt() {
        bail!("promtool is missing and there is no apt-get here: install Prometheus' promtool");
    }
    let cache = cache()?;
    fetch(&cache).with_context(|| {
        format!("cannot take promtool out of Debian's package {PACKAGE} into {}", cache.display())
    })?;
    super::note("promtool", &format!("taken out of the package {PACKAGE}"));
    Ok(())
}

fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("flannel-tracer/promtool"))
}

fn fetch(cache: &Path) -> Result<()> {
    // A fetch that was broken off is begun again.
    let _ = fs::remove_dir_all(cache);
    fs::create_dir_all(cache)?;
    packages::refresh_unless_known(PACKAGE)?;
    shell::run(
        shell::command("apt-get")
            .current_dir(cache)
            // The cache may be below a home that apt's own user cannot enter.
            .args(["--quiet=2", "-o", "APT::Sandbox::User=root", "download", PACKAGE]),
    )?;
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "deb") {
            let unpacked = cache.join("unpacked");
            shell::run(shell::command("dpkg-deb").arg("-x").arg(&path).arg(&unpacked))?;
            fs::create_dir_all(cache.join(IN_PACKAGE).parent().unwrap_or(cache))?;
            fs::rename(unpacked.join(IN_PACKAGE), cache.join(IN_PACKAGE))?;
            fs::remove_dir_all(&unpacked)?;
            fs::remove_file(&path)?;
        }
    }
    if find().is_none() {
        bail!("the package holds no {IN_PACKAGE}");
    }
    Ok(())
}
