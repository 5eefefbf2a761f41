//! What `capabilities` must say of every feature when root asks: it hangs on the kernel alone.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{kernel, matrix::Attach};

/// Every feature, in the order of the answer.
pub const FEATURES: [&str; 14] = [
    "tables",
    "stages",
    "tcx",
    "clsact",
    "memory",
    "ring-buffer",
    "btf",
    "module-btf",
    "drops",
    "drop-flows",
    "changes",
    "symbols",
    "processes",
    "privileges",
];
/// Where the kernel says how far it is locked down (kernel_lockdown(7)).
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// Where a kernel that has kprobes says so.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";
/// Modules show their types from this kernel on.
const MODULE_TYPES: (u32, u32) = (5, 11);
/// A module of flannel's that is loaded and not a part of the kernel has this.
const LOADED: &str = "/sys/module/vxlan/initstate";

/// What the answer hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// It has TCX.
    pub tcx: bool,
    /// It has kprobes.
    pub kprobes: bool,
    /// Its modules show their types, or it has flannel's built in.
    pub module_types: bool,
    /// It keeps its memory from root.
    pub is_confidential: bool,
    /// Root may look at every process, as it may where no security module is against it.
    pub shows_processes: bool,
}

/// Whether this kernel is locked down for confidentiality.
///
/// # Errors
/// When its command line asks for that, and it does not say so.
pub fn is_confidential() -> Result<bool> {
    // No file where securityfs is not mounted, or the kernel knows no lockdown.
    let now = fs::read_to_string(LOCKDOWN).unwrap_or_default();
    let asked = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    confidential(&now, &asked)
}

fn confidential(now: &str, asked: &str) -> Result<bool> {
    let is_confidential = now.contains("[confidentiality]");
    let is_asked = asked.split_whitespace().any(|word| word == "lockdown=confidentiality");
    ensure!(
        is_confidential || !is_asked,
        "the command line asks for lockdown, and {LOCKDOWN} says {now:?}"
    );
    Ok(is_confidential)
}

/// Whether the namespaces of all processes can be read.
fn shows_processes() -> Result<bool> {
    let processes = fs::read_dir("/proc").context("/proc")?.filter_map(Result::ok);
    let mut namespaces = processes.map(|it| it.path().join("ns/net"));
    let is_hidden = |it: PathBuf| {
        fs::read_link(it).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    Ok(!namespaces.any(is_hidden))
}

// === impl Kernel ===

impl Kernel {
    /// The running one.
    ///
    /// # Errors
    /// When it is not locked down as it was told to be.
    pub fn this() -> Result<Self> {
        let is_module = Path::new(LOADED).exists();
        Ok(Self {
            tcx: Attach::on_this_kernel().contains(&Attach::Tcx),
            kprobes: Path::new(KPROBES).exists(),
            module_types: !is_module || !kernel::is_before(MODULE_TYPES),
            is_confidential: is_confidential()?,
            shows_processes: shows_processes()?,
        })
    }

    /// The state of a feature on it.
    #[must_use]
    pub fn state(self, feature: &str) -> &'static str {
        match feature {
            "tcx" if !self.tcx => "off",
            "module-btf" if !self.module_types => "off",
            "changes" if !self.kprobes => "off",
            "drop-flows" if self.is_confidential => "degraded",
            "processes" if !self.shows_processes => "degraded",
            _ => "on",
        }
    }

    /// What is wrong with an answer, `status` being the exit status; nothing when all is right.
    #[must_use]
    pub fn complaints(self, answer: &Value, status: Option<i32>) -> Vec<String> {
        let features = answer["features"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = features.iter().filter_map(|it| it["feature"].as_str()).collect();
        let mut wrong = Vec::new();
        if names != FEATURES {
            wrong.push(format!("the features are {names:?}"));
        }
        if status != Some(0) {
            wrong.push(format!("the exit status is {status:?}"));
        }
        for found in features {
            let feature = found["feature"].as_str().unwrap_or_default();
            let (state, expected) = (&found["state"], self.state(feature));
            if *state != expected {
                wrong.push(format!("{feature} is {state}, not {expected}: {}", found["because"]));
            }
            let because = found["because"].as_str().unwrap_or_default();
            if feature == "drop-flows" && expected != "on" && !because.contains("lockdown") {
                wrong.push(format!("{feature} is not on for another reason: {because}"));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEW: Kernel = Kernel {
        tcx: true,
        kprobes: true,
        module_types: true,
        is_confidential: false,
        shows_processes: true,
    };
    const OLD: Kernel = Kernel { tcx: false, module_types: false, ..NEW };
    const LOCKED: Kernel = Kernel { is_confidential: true, ..NEW };

    fn answer(kernel: Kernel) -> Value {
        let feature = |name: &&str| {
            let state = kernel.state(name);
            json!({"feature": name, "state": state, "because": "lockdown"})
        };
        json!({"features": FEATURES.iter().map(feature).collect::<Vec<_>>()})
    }

    #[test]
    fn the_answer_of_a_kernel_is_right_there_and_wrong_elsewhere() {
        for kernel in [NEW, OLD, LOCKED] {
            assert!(kernel.complaints(&answer(kernel), Some(0)).is_empty());
            for other in [NEW, OLD, LOCKED].into_iter().filter(|it| *it != kernel) {
                assert!(!other.complaints(&answer(kernel), Some(0)).is_empty());
            }
        }
    }

    #[test]
    fn a_missing_feature_and_a_status_and_a_reason_that_are_wrong_are_seen() {
        let mut without = answer(NEW);
        without["features"].as_array_mut().unwrap().remove(3);
        assert!(NEW.complaints(&without, Some(0))[0].starts_with("the features are"));
        assert_eq!(NEW.complaints(&answer(NEW), Some(2)), ["the exit status is Some(2)"]);
        assert_eq!(NEW.complaints(&json!({}), Some(0)).len(), 1);
        let mut otherwise = answer(LOCKED);
        otherwise["features"][9]["because"] = json!("the verifier is unwell");
        assert_eq!(LOCKED.complaints(&otherwise, Some(0)).len(), 1);
    }

    #[test]
    fn lockdown_is_what_the_kernel_says_and_not_what_it_was_told() {
        let (asked, on) = ("quiet lockdown=confidentiality", "none integrity [confidentiality]\n");
        let off = "[none] integrity confidentiality\n";
        assert!(confidential(on, asked).unwrap());
        assert!(confidential(on, "").unwrap());
        assert!(!confidential(off, "quiet").unwrap());
        assert!(confidential(off, asked).is_err());
        assert!(confidential("", asked).is_err());
    }
}
