//! What the figures were measured on: ratios differ from one processor to the next.

use std::{collections::BTreeMap, fs};

use nix::sys::utsname::uname;
use serde::Serialize;

const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";
/// The ones whose mitigations a call, a branch or a change of context pays for.
const PRICED: [&str; 3] = ["spectre_v1", "spectre_v2", "retbleed"];

/// Processor, mitigations and kernel.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    mitigations: BTreeMap<String, String>,
    kernel: String,
}

// === impl Machine ===

impl Machine {
    /// The machine that this runs on.
    pub(crate) fn this() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let mitigation = |name: &str| {
            let text = fs::read_to_string(format!("{VULNERABILITIES}/{name}")).ok()?;
            Some((name.to_owned(), text.trim().to_owned()))
        };
        Self {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            mitigations: PRICED.iter().filter_map(|name| mitigation(name)).collect(),
            kernel: uname().map_or_else(
                |_| "unknown".to_owned(),
                |names| names.release().to_string_lossy().into_owned(),
            ),
        }
    }

    /// One line for a reader.
    pub(crate) fn line(&self) -> String {
        let mitigations: Vec<String> =
            self.mitigations.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        format!("{}, Linux {}; {}", self.cpu, self.kernel, mitigations.join("; "))
    }
}
