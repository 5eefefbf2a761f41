//! Prometheus, which scrapes daemons in the lab, and its promtool, which judges a scrape. Debian's
//! package (19 MB to fetch) would begin to run a server, so both programs, 94 MiB, are taken out of
//! it into the cache.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{packages, shell};

const PACKAGE: &str = "prometheus";
/// Where the package has programs.
const IN_PACKAGE: &str = "usr/bin";
/// The programs, and what names each to the suites.
const PROGRAMS: [(&str, &str); 2] =
    [("prometheus", "FLANNEL_TRACER_PROMETHEUS"), ("promtool", "FLANNEL_TRACER_PROMTOOL")];

/// What tells the suites where the programs are, as words for env(1).
pub(crate) fn environment() -> Vec<OsString> {
    let word = |(program, variable): (&str, &str)| {
        let mut word = OsString::from(format!("{variable}="));
        word.push(find(program)?);
        Some(word)
    };
    PROGRAMS.into_iter().filter_map(word).collect()
}

/// Where a program is: on the path, else in the cache; `None` when it has to be fetched.
fn find(program: &str) -> Option<PathBuf> {
    let cached = || cache().ok().map(|cache| cache.join(IN_PACKAGE).join(program));
    shell::find(program).or_else(cached).filter(|path| path.is_file())
}

fn is_complete() -> bool {
    PROGRAMS.into_iter().all(|(program, _)| find(program).is_some())
}

/// Fetches them when they are not there.
pub(super) fn setup() -> Result<()> {
    if is_complete() {
        super::note("prometheus", "present");
        return Ok(());
    }
    if !packages::has_apt() {
        bail!("prometheus or promtool is missing and there is no apt-get here: install Prometheus");
    }
    let cache = cache()?;
    fetch(&cache).with_context(|| {
        format!("cannot take Debian's package {PACKAGE} apart in {}", cache.display())
    })?;
    super::note("prometheus", &format!("taken out of the package {PACKAGE}"));
    Ok(())
}

fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("flannel-tracer/prometheus"))
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
            fs::create_dir_all(cache.join(IN_PACKAGE))?;
            for (program, _) in PROGRAMS {
                let program = Path::new(IN_PACKAGE).join(program);
                fs::rename(unpacked.join(&program), cache.join(&program))?;
            }
            fs::remove_dir_all(&unpacked)?;
            fs::remove_file(&path)?;
        }
    }
    if !is_complete() {
        bail!("the package lacks a program");
    }
    Ok(())
}
