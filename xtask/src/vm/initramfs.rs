//! What a guest's file system holds, and writing it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::architecture::Architecture;
use super::console::Expected;
use super::cpio::Archive;
use super::kernel::Kernel;
use super::under_test::UnderTest;
use super::{modules, programs, root};
use crate::build;
use crate::test::Suite;
use tracer_tests::cell::{is_suite, suite_case};
use tracer_tests::process::AGENT_VARIABLE;
use tracer_tests::sample::{KNOWN_VARIABLE, OF_GUEST, SEED_VARIABLE, Sample};
use tracer_tests::size::SMALL_VARIABLE;

/// Where the guest keeps what is under test.
const FOLDER: &str = "/vm";
/// The suites that are short enough for every kernel every time.
const SHORT: [&str; 2] = [SMOKE, "verifier"];
/// The suites that no guest runs unless they are named: the time of translated instructions says
/// nothing of a processor, what Prometheus says of a scrape and CoreDNS on the wire is the same on all
/// kernels, and the faults and look-alikes of the last five are those that [`SMOKE`] plays, in many
/// more labs: hours for each kernel where it is interpreted.
const NEVER: [&str; 8] = [
    "budget",
    "prometheus",
    "coredns",
    "faults",
    "look_alikes",
    "tracer_faults",
    "tracer_healthy",
    "uplinks",
];
/// The suite that says a cell for each of its cases.
const SMOKE: &str = "smoke";
/// What the guest mounts or writes on.
const DIRECTORIES: [&str; 7] = ["/dev", "/etc", "/proc", "/root", "/sys", "/tmp", "/var"];
const USERS: &str = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Which tests to run.
pub(super) struct Selection {
    /// Every suite, and not only the short ones.
    pub(super) all: bool,
    /// These suites and no others, if there are any.
    pub(super) suites: Vec<String>,
    /// What the cases of the suite `smoke` are drawn from; without it, all of them.
    pub(super) seed: Option<u64>,
    /// Texts of which a test's name must hold one; empty for all tests.
    pub(super) filter: Vec<String>,
}

// === impl Selection ===

impl Selection {
    fn has(&self, suite: &str) -> bool {
        if !self.suites.is_empty() {
            return self.suites.iter().any(|it| it == suite);
        }
        SHORT.contains(&suite) || self.all && !NEVER.contains(&suite)
    }

    /// Every suite that was named is one of the `known`.
    fn require_known(&self, known: &[&str]) -> Result<()> {
        let mut named = self.suites.iter().map(String::as_str);
        match named.find(|suite| !known.contains(suite)) {
            Some(unknown) => bail!("no suite {unknown}; there are {}", known.join(", ")),
            None => Ok(()),
        }
    }
}

/// What is under test, the same for every kernel but for what one has shown already.
#[derive(Clone)]
pub(super) struct Payload {
    init: PathBuf,
    tracer: PathBuf,
    agent: PathBuf,
    /// Where the lab's programs are, when they are not this machine's.
    root: Option<PathBuf>,
    /// Names and stripped programs.
    suites: Vec<(String, PathBuf)>,
    filter: String,
    environment: Vec<String>,
    expected: Expected,
}

// === impl Payload ===

impl Payload {
    /// Builds init and suites; copies go below `folder`, those of suites without debug information: all
    /// rows show the same, whatever is built beside them.
    pub(super) fn build(
        architecture: Architecture,
        selection: &Selection,
        folder: &Path,
    ) -> Result<Self> {
        let built = UnderTest::build(architecture)?;
        let stripped = |program: &Path, name: &str| {
            let to = folder.join(name);
            built.strip(program, &to).map(|()| to)
        };
        let copied = |program: &Path, name: &str| {
            let to = folder.join(name);
            fs::copy(program, &to).with_context(|| format!("cannot write {}", to.display()))?;
            anyhow::Ok(to)
        };
        selection.require_known(&built.suites.iter().map(Suite::name).collect::<Vec<_>>())?;
        let mut suites = Vec::new();
        for suite in &built.suites {
            let name = suite.name().to_owned();
            if selection.has(&name) {
                let program = stripped(Path::new(&suite.executable), &format!("suite-{name}"))?;
                suites.push((name, program));
            }
        }
        let names: Vec<&str> = suites.iter().map(|(name, _)| name.as_str()).collect();
        let expected = expected(&names, selection);
        Ok(Self {
            init: copied(&built.init, "vm-init")?,
            tracer: copied(&built.tracer, "flannel-tracer")?,
            agent: stripped(&built.agent, "lab-agent")?,
            root: architecture.cross().map(|_| root::get(architecture)).transpose()?,
            suites,
            environment: selection.seed.iter().map(|it| format!("{SEED_VARIABLE}={it}")).collect(),
            expected,
            filter: selection.filter.iter().map(|text| format!(" {text}")).collect(),
        })
    }

    /// Tells the suites that the guests are interpreted.
    pub(super) fn make_small(&mut self) {
        self.environment.push(format!("{SMALL_VARIABLE}=1"));
    }

    /// Without the suites and cases that are known to be right.
    pub(super) fn but(&self, known: impl Fn(&str) -> bool) -> Self {
        let mut rest = self.clone();
        // The cases are all of one suite.
        let smoke = suite_case(SMOKE);
        let is_whole = self.expected.cases.iter().all(|case| is_suite(case) || known(case));
        let known = |case: &str| known(case) && (is_whole || case != smoke);
        let cases = self.expected.cases.iter().map(String::as_str);
        let cases: Vec<&str> = cases.filter(|case| !is_suite(case) && known(case)).collect();
        if !cases.is_empty() {
            rest.environment.push(format!("{KNOWN_VARIABLE}={}", cases.join(",")));
        }
        rest.suites.retain(|(suite, _)| !known(&suite_case(suite)));
        rest.expected.cases.retain(|case| !known(case));
        rest.expected.suites = rest.suites.len();
        rest
    }

    /// The first process of a guest.
    pub(super) fn init(&self) -> &Path {
        &self.init
    }

    /// What a guest has to say.
    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Writes the image for a kernel.
    pub(super) fn write(&self, kernel: &Kernel, image: &Path) -> Result<()> {
        write(&self.init, image, |archive| {
            self.suites_into(archive)?;
            match &self.root {
                Some(root) => root::add_all(archive, root)?,
                None => programs::add_all(archive)?,
            }
            modules_into(archive, kernel)
        })
    }

    fn suites_into(&self, archive: &mut Archive<impl Write>) -> Result<()> {
        let (tracer, agent) = (format!("{FOLDER}/flannel-tracer"), format!("{FOLDER}/lab-agent"));
        programs::add(archive, &self.tracer, &tracer)?;
        programs::add(archive, &self.agent, &agent)?;
        let mut lines = String::new();
        for (name, program) in &self.suites {
            programs::add(archive, program, &format!("{FOLDER}/{name}"))?;
            lines.push_str(&format!("{FOLDER}/{name} --test-threads=1{}\n", self.filter));
        }
        let mut environment = self.environment.clone();
        environment.push(format!("{}={tracer}", build::BINARY));
        environment.push(format!("{}={agent}", AGENT_VARIABLE));
        archive.file(&format!("{FOLDER}/suites"), lines.as_bytes())?;
        archive.file(&format!("{FOLDER}/environment"), environment.join("\n").as_bytes())?;
        archive.file(&format!("{FOLDER}/modules"), modules::LOADED.join("\n").as_bytes())?;
        archive.file("/etc/passwd", USERS.as_bytes())?;
        Ok(archive.file("/etc/group", GROUPS.as_bytes())?)
    }
}

/// Writes an image that boots any kernel and has nothing to run.
pub(super) fn write_bare(init: &Path, image: &Path) -> Result<()> {
    write(init, image, |archive| {
        archive.file(&format!("{FOLDER}/suites"), b"")?;
        Ok(archive.file(&format!("{FOLDER}/environment"), b"")?)
    })
}

fn write(
    init: &Path,
    image: &Path,
    rest: impl FnOnce(&mut Archive<BufWriter<File>>) -> Result<()>,
) -> Result<()> {
    let cannot = || format!("cannot write {}", image.display());
    let mut archive = Archive::new(BufWriter::new(File::create(image).with_context(cannot)?));
    archive.merge()?;
    for directory in DIRECTORIES {
        archive.directory(directory)?;
    }
    programs::add(&mut archive, init, "/init")?;
    rest(&mut archive)?;
    archive.finish().with_context(cannot)
}

/// Every suite is a case; a filter leaves open which other cases are shown.
fn expected(suites: &[&str], selection: &Selection) -> Expected {
    let mut cases = Vec::new();
    if suites.contains(&SMOKE) && selection.filter.is_empty() {
        let draw = |seed| Sample::draw(seed, OF_GUEST);
        cases = selection.seed.map_or_else(Sample::all, draw).cases();
    }
    cases.extend(suites.iter().map(|suite| suite_case(suite)));
    Expected { suites: suites.len(), cases }
}

/// The modules that the lab needs, and the indexes that modprobe(8) reads.
fn modules_into(archive: &mut Archive<impl Write>, kernel: &Kernel) -> Result<()> {
    let version = kernel.modules.file_name().context("a version")?.to_string_lossy();
    let at = |path: &str| format!("/lib/modules/{version}/{path}");
    let read = |path: &str| {
        let path = kernel.modules.join(path);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let dependencies = String::from_utf8(read("modules.dep")?).context("modules.dep")?;
    for path in modules::select(&dependencies) {
        archive.file(&at(&path), &read(&path)?)?;
    }
    for entry in fs::read_dir(&kernel.modules).context("the modules")? {
        let name = entry.context("the modules")?.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") {
            archive.file(&at(&name), &read(&name)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(filter: &[&str], seed: Option<u64>) -> Vec<String> {
        let filter = filter.iter().map(|it| (*it).to_owned()).collect();
        let selection = Selection { all: true, suites: Vec::new(), seed, filter };
        expected(&["lab", SMOKE], &selection).cases
    }

    #[test]
    fn suites_are_the_short_ones_or_all_that_a_guest_can_run_or_those_that_were_named() {
        let has = |all: bool, suites: &[&str]| {
            let suites = suites.iter().map(|it| (*it).to_owned()).collect();
            let selection = Selection { all, suites, seed: None, filter: Vec::new() };
            ["verifier", "lab", "budget", "tracer_faults"].map(|suite| selection.has(suite))
        };
        assert_eq!(has(false, &[]), [true, false, false, false]);
        assert_eq!(has(true, &[]), [true, true, false, false]);
        assert_eq!(has(false, &["lab"]), [false, true, false, false]);
        assert_eq!(has(true, &["tracer_faults"]), [false, false, false, true]);
    }

    #[test]
    fn a_suite_that_does_not_exist_is_named_with_those_that_do() {
        let require = |suites: &[&str]| {
            let suites = suites.iter().map(|it| (*it).to_owned()).collect();
            let selection = Selection { all: false, suites, seed: None, filter: Vec::new() };
            selection.require_known(&["lab", SMOKE]).map_err(|error| error.to_string())
        };
        assert_eq!(require(&["lab", "smoke"]), Ok(()));
        let error = require(&["lab", "typo"]).expect_err("a typing error");
        assert_eq!(error, "no suite typo; there are lab, smoke");
    }

    #[test]
    fn a_guest_must_show_the_cases_that_were_drawn_and_every_suite() {
        assert_eq!(cases(&[], Some(7)).len(), Sample::draw(7, OF_GUEST).cases().len() + 2);
        assert_eq!(cases(&[], None).len(), Sample::all().cases().len() + 2);
        assert!(cases(&[], None).contains(&"suite:lab".to_owned()));
    }

    #[test]
    fn with_a_filter_the_suites_alone_are_sure() {
        assert_eq!(cases(&["healthy"], None), ["suite:lab", "suite:smoke"]);
    }

    #[test]
    fn what_is_known_is_left_out_and_no_suite_that_has_an_open_case() {
        let cases = ["healthy", "suite:smoke", "suite:lab"].map(str::to_owned).to_vec();
        let suite = |name: &str| (name.to_owned(), PathBuf::new());
        let payload = Payload {
            init: PathBuf::new(),
            tracer: PathBuf::new(),
            agent: PathBuf::new(),
            root: None,
            suites: vec![suite(SMOKE), suite("lab")],
            filter: String::new(),
            environment: Vec::new(),
            expected: Expected { suites: 2, cases },
        };
        let left = |known: &[&str]| {
            let rest = payload.but(|case| known.contains(&case));
            assert_eq!(rest.expected.suites, rest.suites.len());
            (rest.expected.cases, rest.environment)
        };
        let none = Vec::<String>::new();
        assert_eq!(left(&["healthy", "suite:smoke", "suite:lab"]).0, none);
        // The suite is right, and a case of it is new.
        let open = left(&["suite:smoke", "suite:lab"]);
        assert_eq!(open, (vec!["healthy".to_owned(), "suite:smoke".to_owned()], none));
        let (rest, environment) = left(&["healthy"]);
        assert_eq!(rest, ["suite:smoke", "suite:lab"]);
        assert_eq!(environment, [format!("{KNOWN_VARIABLE}=healthy")]);
    }
}
