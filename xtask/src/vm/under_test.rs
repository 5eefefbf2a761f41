//! What the guests run, built for their processor.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use crate::build::{self, Cross};
use crate::test::{self, Suite};
use crate::{packages, shell};

/// Programs of this repository for a guest.
pub(super) struct UnderTest {
    /// The guest's first process.
    pub(super) init: PathBuf,
    /// The production binary.
    pub(super) tracer: PathBuf,
    /// The lab's agent.
    pub(super) agent: PathBuf,
    pub(super) suites: Vec<Suite>,
    strip: String,
}

// === impl UnderTest ===

impl UnderTest {
    /// Builds all of them.
    pub(super) fn build(architecture: Architecture) -> Result<Self> {
        match architecture.cross() {
            None => Ok(Self {
                init: init(architecture)?,
                tracer: build::production()?.binary,
                agent: build::target_folder().join("debug/lab-agent"),
                suites: test::suites(None)?,
                strip: "strip".to_owned(),
            }),
            Some(cross) => Self::cross(architecture, &cross),
        }
    }

    fn cross(architecture: Architecture, cross: &Cross) -> Result<Self> {
        Ok(Self {
            init: init(architecture)?,
            tracer: build::production_for(cross)?.binary,
            agent: build::target_folder().join(cross.triple).join("debug/lab-agent"),
            suites: test::suites(Some(cross))?,
            strip: format!("{}-strip", cross.gnu),
        })
    }

    /// Copies one without its debug information.
    pub(super) fn strip(&self, program: &Path, to: &Path) -> Result<()> {
        shell::run(shell::command(&self.strip).arg("--strip-debug").arg("-o").arg(to).arg(program))
    }
}

/// Builds the first process of a guest, a static program; what that needs is installed.
pub(super) fn init(architecture: Architecture) -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo.args(["rustc", "-p", "tracer-tests", "--bin", "vm-init"]);
    let folder = build::target_folder();
    let Some(cross) = architecture.cross() else {
        shell::run(cargo.args(["--", "-C", "target-feature=+crt-static"]))?;
        return Ok(folder.join("debug/vm-init"));
    };
    if !packages::is_installed(architecture.libc()) {
        packages::install(&[architecture.libc()])
            .context("its C library is missing, for the programs of the guests")?;
    }
    cross.set_up()?;
    shell::run(cross.tell(&mut cargo))?;
    Ok(folder.join(cross.triple).join("debug/vm-init"))
}
