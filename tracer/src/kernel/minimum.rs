//! The oldest kernel that the programs run on.

/// The oldest kernel that the programs run on.
pub const MINIMUM_KERNEL: (u32, u32) = (5, 10);

/// The running kernel is too old.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "this is Linux {release}; flannel-tracer needs {}.{} or newer: look from a node with a newer \
     kernel, or at the tables alone with check --duration 0",
    MINIMUM_KERNEL.0, MINIMUM_KERNEL.1
)]
pub struct TooOld {
    release: String,
}

/// Checks the running kernel against [`MINIMUM_KERNEL`]. `release` is what `uname -r` prints.
///
/// # Errors
/// When it is older.
pub fn require_kernel(release: &str) -> Result<(), TooOld> {
    if is_before(release, MINIMUM_KERNEL) {
        return Err(TooOld { release: release.to_owned() });
    }
    Ok(())
}

/// Whether a release is older than a version. One that does not begin with two numbers is not:
/// it is left to the kernel to refuse.
pub(super) fn is_before(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|this| this < version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_refused_and_odd_names_are_not() {
        for old in ["5.9.16", "4.19.0-27-amd64", "3.10.0-1160.el7", "5.4", "2.6.78"] {
            let said = require_kernel(old).map_err(|error| error.to_string());
            assert!(said.is_err_and(|it| it.contains(old) && it.contains("needs 5.10")), "{old}");
        }
        for new in ["5.10.0-30-amd64", "6.18.44", "7.2-rc1", "10.0", "custom"] {
            assert_eq!(require_kernel(new), Ok(()), "{new}");
        }
    }
}
