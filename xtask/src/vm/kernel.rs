//! Kernels to boot: Debian's, fetched by apt into the cache, or a directory of the user's.
//!
//! What the cache has is never fetched again. What is gone from Debian's mirrors comes from their
//! snapshots ([`place`]).

mod place;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use self::place::{Archive, Place, first, places};
use crate::shell;

/// A kernel line, the release of Debian that has it, and the archives of that release.
const LINES: [(&str, &str, &[Archive]); 4] = [
    ("5.10", "bullseye", &[MAIN, SECURITY]),
    ("6.1", "bookworm", &[MAIN, SECURITY]),
    ("6.12", "trixie", &[MAIN, SECURITY]),
    ("7.2", "trixie-backports", &[MAIN]),
];
const MAIN: Archive = ("debian", "");
const SECURITY: Archive = ("debian-security", "-security");
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How many versions are tried in a place: its index names some that are gone.
const TRIES: usize = 4;

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

    /// A Debian line, from the cache or the archive, or what is in a directory.
    pub(super) fn get(name: &str) -> Result<Self> {
        if let Some((line, release, archives)) = LINES.iter().find(|(line, ..)| *line == name) {
            let folder = cache()?.join(line);
            if !folder.join("complete").exists() {
                fetch(line, release, archives, &folder)?;
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

fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("flannel-tracer/kernels"))
}

/// Fetches the newest package of a line that is still to be had, and lays it out as `vmlinuz` and
/// `lib/modules/VERSION`.
fn fetch(line: &str, release: &str, archives: &[Archive], folder: &Path) -> Result<()> {
    can_fetch(Path::new(KEYS), shell::find("apt-get").as_deref())?;
    let today = jiff::Zoned::now().date();
    first(&places(today), |place| {
        eprintln!("vm: fetching Linux {line} from Debian {release}, {place}");
        // A fetch that was broken off is begun again.
        let _ = fs::remove_dir_all(folder);
        let apt = Apt::new(*place, release, archives, folder.join("apt"))?;
        let versions = newest(&apt.search(line)?);
        ensure!(!versions.is_empty(), "no package");
        first(&versions, |version| apt.unpack(version, &folder.join("unpacked")))
    })
    .with_context(|| gone(line, release))?;
    lay_out(folder)
}

/// What is said of a line that is not, or no more, in its release.
fn gone(line: &str, release: &str) -> String {
    format!(
        "no Linux {line} of Debian {release} can be fetched: name a kernel of your own with \
         `--kernel DIR`, or correct the table LINES in {}",
        file!()
    )
}

/// Whether this machine can fetch Debian's kernels.
fn can_fetch(keys: &Path, apt: Option<&Path>) -> Result<()> {
    let package = match (apt, keys.exists()) {
        (None, _) => "apt",
        (Some(_), false) => "debian-archive-keyring",
        (Some(_), true) => return Ok(()),
    };
    bail!(
        "fetching a kernel of Debian needs the package {package}: install it, or name a kernel of \
         your own with `--kernel DIR`"
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
    fs::write(folder.join("complete"), "").context("the cache")
}

/// apt with lists of its own, so that the machine's stay as they are.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

// === impl Apt ===

impl Apt {
    fn new(place: Place, release: &str, archives: &[Archive], folder: PathBuf) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).context("the cache")?;
        }
        let sources: String =
            archives.iter().map(|archive| place.source(*archive, release, KEYS)).collect();
        fs::write(folder.join("sources.list"), sources).context("the cache")?;
        fs::write(folder.join("state/status"), "").context("the cache")?;
        let at = |path: &str| folder.join(path).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("state/status")),
            format!("Dir::Cache={}", at("cache")),
            "APT::Architecture=amd64".to_owned(),
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

    /// A line's cloud kernels, as apt-cache(8) lists them.
    fn search(&self, line: &str) -> Result<String> {
        let pattern = format!("^linux-image-{}\\..*-cloud-amd64$", line.replace('.', "\\."));
        shell::output(self.command("apt-cache").args(["search", "--names-only", &pattern]))
    }

    /// Newer packages are split: the image's has nothing in it but its needs.
    fn unpack(&self, version: &str, folder: &Path) -> Result<()> {
        let split = ["linux-binary", "linux-modules"].map(|kind| format!("{kind}-{version}"));
        let known = |package: &String| {
            shell::output(self.command("apt-cache").args(["--quiet", "show", package]))
                .is_ok_and(|text| !text.is_empty())
        };
        let whole = [format!("linux-image-{version}")];
        let packages: &[String] = if split.iter().all(known) { &split } else { &whole };
        // Each version in a folder of its own: of one that is gone a half may have come.
        let packed = self.folder.join(version);
        fs::create_dir_all(&packed).context("the cache")?;
        let mut download = self.command("apt-get");
        download.current_dir(&packed);
        shell::run(download.args(["--quiet=2", "download"]).args(packages))?;
        for entry in fs::read_dir(&packed).context("the cache")? {
            let path = entry.context("the cache")?.path();
            shell::run(shell::command("dpkg-deb").arg("-x").arg(&path).arg(folder))?;
        }
        Ok(())
    }
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
    fn what_keeps_a_kernel_from_being_fetched_is_named_with_the_way_around_it() {
        let here = Path::new("/");
        let said = |keys: &Path, apt| can_fetch(keys, apt).err().map(|it| it.to_string());
        assert_eq!(said(here, Some(here)), None);
        let without_keys = said(Path::new("/no/such/file"), Some(here)).expect("no keys");
        let without_apt = said(here, None).expect("no apt");
        assert!(without_keys.contains("package debian-archive-keyring"), "{without_keys}");
        assert!(without_apt.contains("package apt"), "{without_apt}");
        for words in [without_keys, without_apt, gone("5.10", "bullseye")] {
            assert!(words.contains("`--kernel DIR`"), "{words}");
        }
        assert!(gone("5.10", "bullseye").contains("LINES in xtask/src/vm/kernel.rs"));
    }

    #[test]
    fn a_kernel_that_is_neither_line_nor_directory_is_an_error_with_the_lines() {
        let error = Kernel::get("4.19").err().expect("no such line").to_string();
        assert!(error.contains("5.10, 6.1"), "{error}");
    }
}
