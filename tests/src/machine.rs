//! Limits of the whole machine: its kernel's tables, which all namespaces share. They are changed in
//! guests alone, whose kernel is nobody else's.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::kernel_module::in_guest;

/// Settings below /proc/sys that are others until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the settings back"]
pub struct Limits {
    before: Vec<(PathBuf, String)>,
}

// === impl Limits ===

impl Limits {
    /// Changes settings of the machine, in this order.
    ///
    /// # Errors
    /// On a machine that is no guest, and when the kernel takes a value not.
    pub fn set(settings: &[(&str, u64)]) -> Result<Self> {
        if !in_guest() {
            bail!("{} is this whole machine's: run this in a guest (cargo xtask vm)", settings[0].0)
        }
        let mut limits = Self { before: Vec::new() };
        for (name, value) in settings {
            let path = PathBuf::from(format!("/proc/sys/{}", name.replace('.', "/")));
            let before = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            fs::write(&path, value.to_string()).with_context(|| path.display().to_string())?;
            limits.before.push((path, before));
        }
        Ok(limits)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for (path, before) in self.before.iter().rev() {
            if let Err(error) = fs::write(path, before.trim()) {
                eprintln!("cannot give {} back: {error}", path.display());
            }
        }
    }
}
