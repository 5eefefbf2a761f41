//! A row of the matrix: a kernel, and words for its command line.

use std::fmt;

use super::architecture::Architecture;
use super::kernel;

/// Beside the plain lines: Talos sets it under SecureBoot, and it takes helpers from eBPF programs.
const LOCKED_DOWN: (&str, &str) = ("6.12", "lockdown=confidentiality");

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// A Debian line or a directory.
    pub(super) kernel: String,
    /// More words for its command line.
    pub(super) append: String,
    /// Whose it is.
    pub(super) architecture: Architecture,
}

/// The rows for these kernels with these words, or the whole matrix when neither is given.
pub(super) fn rows(architecture: Architecture, kernels: &[String], append: &str) -> Vec<Row> {
    let lines = if kernels.is_empty() { kernel::lines() } else { kernels.to_vec() };
    let mut rows = Vec::new();
    let row = |kernel: &String, append: &str| Row {
        kernel: kernel.clone(),
        append: append.to_owned(),
        architecture,
    };
    for kernel in lines {
        let is_locked_down_too = kernels.is_empty() && append.is_empty() && kernel == LOCKED_DOWN.0;
        rows.push(row(&kernel, append));
        if is_locked_down_too {
            rows.push(row(&kernel, LOCKED_DOWN.1));
        }
    }
    rows
}

// === impl Row ===

impl Row {
    /// A row of x86-64.
    #[cfg(test)]
    pub(super) fn usual(kernel: &str, append: &str) -> Self {
        let architecture = Architecture::X86_64;
        Self { kernel: kernel.to_owned(), append: append.to_owned(), architecture }
    }

    /// Its name as that of a file.
    pub(super) fn file(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".=".contains(c) { c } else { '_' };
        self.to_string().trim_start_matches(['.', '/']).chars().map(plain).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kernel, self.architecture.words())?;
        if self.append.is_empty() { Ok(()) } else { write!(f, " {}", self.append) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kernels: &[&str], append: &str) -> Vec<String> {
        let kernels: Vec<String> = kernels.iter().map(|it| (*it).to_owned()).collect();
        rows(Architecture::X86_64, &kernels, append).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_whole_matrix_has_a_locked_down_row() {
        let all = ["5.10", "6.1", "6.12", "6.12 lockdown=confidentiality", "7.2"];
        assert_eq!(names(&[], ""), all);
    }

    #[test]
    fn kernels_and_words_narrow_it() {
        assert_eq!(names(&["6.12"], ""), ["6.12"]);
        assert_eq!(names(&["6.1", "./mine"], "quiet"), ["6.1 quiet", "./mine quiet"]);
        assert_eq!(names(&[], "nokaslr").len(), 4);
    }

    #[test]
    fn a_row_is_a_file_name_of_its_own() {
        let row = |architecture, kernel: &str, append: &str| {
            rows(architecture, &[kernel.to_owned()], append)[0].file()
        };
        let lockdown = "lockdown=confidentiality";
        assert_eq!(row(Architecture::X86_64, "6.12", lockdown), "6.12_lockdown=confidentiality");
        assert_eq!(row(Architecture::X86_64, "/tmp/mine", ""), "tmp_mine");
        assert_eq!(row(Architecture::Arm64, "6.12", ""), "6.12_arm64");
    }
}
