//! A row of the matrix: a kernel, and words for its command line.

use std::fmt;

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
}

/// The rows for these kernels with these words, or the whole matrix when neither is given.
pub(super) fn rows(kernels: &[String], append: &str) -> Vec<Row> {
    let lines = if kernels.is_empty() { kernel::lines() } else { kernels.to_vec() };
    let mut rows = Vec::new();
    for kernel in lines {
        let is_locked_down_too = kernels.is_empty() && append.is_empty() && kernel == LOCKED_DOWN.0;
        rows.push(Row { kernel: kernel.clone(), append: append.to_owned() });
        if is_locked_down_too {
            rows.push(Row { kernel, append: LOCKED_DOWN.1.to_owned() });
        }
    }
    rows
}

// === impl Row ===

impl Row {
    /// Its name as that of a file.
    pub(super) fn file(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || ".=".contains(c) { c } else { '_' };
        self.to_string().trim_start_matches(['.', '/']).chars().map(plain).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kernel)?;
        if self.append.is_empty() { Ok(()) } else { write!(f, " {}", self.append) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kernels: &[&str], append: &str) -> Vec<String> {
        let kernels: Vec<String> = kernels.iter().map(|it| (*it).to_owned()).collect();
        rows(&kernels, append).iter().map(ToString::to_string).collect()
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
        let row = |kernel: &str, append: &str| Row { kernel: kernel.into(), append: append.into() };
        assert_eq!(row("6.12", "lockdown=confidentiality").file(), "6.12_lockdown=confidentiality");
        assert_eq!(row("/tmp/mine", "").file(), "tmp_mine");
    }
}
