//! Debian's packages by an apt with lists of its own, for whichever processor: the machine's lists and
//! packages stay as they are.

mod place;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

pub(super) use self::place::first;
use self::place::{Archive, Place, places};
use super::architecture::Architecture;
use crate::shell;

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The archive that every release has.
const MAIN: Archive = ("debian", "");
const SECURITY: Archive = ("debian-security", "-security");

/// A release, by its name, and whether it has mends of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release {
    name: &'static str,
    archives: &'static [Archive],
}

/// apt with the packages of one release for one processor.
pub(super) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

/// What `get` makes of the first place that has it. `folder` is emptied before each.
pub(super) fn from_first_place<T>(
    (release, architecture): (Release, Architecture),
    folder: &Path,
    mut get: impl FnMut(&Apt) -> Result<T>,
) -> Result<T> {
    can_fetch(Path::new(KEYS), shell::find("apt-get").as_deref())?;
    let today = jiff::Zoned::now().date();
    first(&places(today), |place| {
        eprintln!("vm: fetching from Debian {}, {place}", release.name);
        // A fetch that was broken off is begun again.
        let _ = fs::remove_dir_all(folder);
        get(&Apt::new(*place, release, architecture, folder.join("apt"))?)
    })
}

/// Unpacks every package of a folder into another.
pub(super) fn unpack(packed: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(packed).context("the cache")? {
        let path = entry.context("the cache")?.path();
        if path.extension().is_some_and(|it| it == "deb") {
            shell::run(shell::command("dpkg-deb").arg("-x").arg(&path).arg(folder))?;
        }
    }
    Ok(())
}

/// Whether this machine can fetch Debian's packages.
fn can_fetch(keys: &Path, apt: Option<&Path>) -> Result<()> {
    let package = match (apt, keys.exists()) {
        (None, _) => "apt",
        (Some(_), false) => "debian-archive-keyring",
        (Some(_), true) => return Ok(()),
    };
    bail!(
        "fetching what Debian has needs the package {package}: install it, or, for a kernel, name one of \
         your own with `--kernel DIR`"
    )
}

// === impl Release ===

impl Release {
    /// One with mends of its own.
    pub(super) const fn of(name: &'static str) -> Self {
        Self { name, archives: &[MAIN, SECURITY] }
    }

    /// One of newer packages for another.
    pub(super) const fn backports(name: &'static str) -> Self {
        Self { name, archives: &[MAIN] }
    }

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        self.name
    }
}

// === impl Apt ===

impl Apt {
    fn new(
        place: Place,
        release: Release,
        architecture: Architecture,
        folder: PathBuf,
    ) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).context("the cache")?;
        }
        let archives = release.archives.iter();
        let sources: String =
            archives.map(|archive| place.source(*archive, release.name, KEYS)).collect();
        fs::write(folder.join("sources.list"), sources).context("the cache")?;
        fs::write(folder.join("state/status"), "").context("the cache")?;
        let at = |path: &str| folder.join(path).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("state/status")),
            format!("Dir::Cache={}", at("cache")),
            format!("APT::Architecture={}", architecture.debian()),
            // Or those that dpkg of this machine takes too.
            format!("APT::Architectures={}", architecture.debian()),
            // The cache may be below a home that apt's own user cannot enter.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        let apt = Self { folder, options };
        // Without it a list that could not be fetched is only a warning, and no line is found.
        let strict = ["-o", "APT::Update::Error-Mode=any"];
        shell::run(apt.command("apt-get").args(strict).args(["--quiet=2", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = shell::command(program);
        command.current_dir(&self.folder).args(&self.options);
        command
    }

    /// The packages whose names match, as apt-cache(8) lists them.
    pub(super) fn search(&self, pattern: &str) -> Result<String> {
        shell::output(self.command("apt-cache").args(["search", "--names-only", pattern]))
    }

    /// Whether there is such a package.
    pub(super) fn has(&self, package: &str) -> bool {
        shell::output(self.command("apt-cache").args(["--quiet", "show", package]))
            .is_ok_and(|text| !text.is_empty())
    }

    /// Unpacks these packages and none else. `what` is a name for them.
    pub(super) fn unpack(&self, what: &str, packages: &[String], folder: &Path) -> Result<()> {
        // In a folder of its own: of a version that is gone a half may have come.
        let packed = self.folder.join(what);
        fs::create_dir_all(&packed).context("the cache")?;
        let mut download = self.command("apt-get");
        download.current_dir(&packed);
        shell::run(download.args(["--quiet=2", "download"]).args(packages))?;
        unpack(&packed, folder)
    }

    /// Unpacks these packages and all that they need.
    pub(super) fn unpack_with_needs(&self, packages: &[&str], folder: &Path) -> Result<()> {
        let mut download = self.command("apt-get");
        download.args(["--quiet=2", "--yes", "--no-install-recommends", "--download-only"]);
        shell::run(download.args(["-o", "Debug::NoLocking=1", "install"]).args(packages))?;
        unpack(&self.folder.join("cache/archives"), folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_package_from_being_fetched_is_named_with_the_way_around_it() {
        let here = Path::new("/");
        let said = |keys: &Path, apt| can_fetch(keys, apt).err().map(|it| it.to_string());
        assert_eq!(said(here, Some(here)), None);
        let without_keys = said(Path::new("/no/such/file"), Some(here)).expect("no keys");
        let without_apt = said(here, None).expect("no apt");
        assert!(without_keys.contains("package debian-archive-keyring"), "{without_keys}");
        assert!(without_apt.contains("package apt"), "{without_apt}");
        for words in [without_keys, without_apt] {
            assert!(words.contains("`--kernel DIR`"), "{words}");
        }
    }
}
