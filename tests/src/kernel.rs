//! The version of the running kernel, for what a version has and an older one has not.

use nix::sys::utsname::uname;

/// `uname -r`; empty when the kernel does not say.
#[must_use]
pub fn release() -> String {
    uname().map_or_else(|_| String::new(), |it| it.release().to_string_lossy().into_owned())
}

/// Whether the running kernel is older than a version.
#[must_use]
pub fn is_before(version: (u32, u32)) -> bool {
    is_older(&release(), version)
}

/// Whether a kernel's release is older than a version; a name without numbers is not.
#[must_use]
pub fn is_older(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|own| own < version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for older in ["5.10.0-46-cloud-amd64", "6.1.0", "6.5"] {
            assert!(is_older(older, (6, 6)), "{older}");
        }
        for other in ["6.6.1", "7.2.12+deb13-cloud-amd64", "7.2-rc1", "10.0", "custom"] {
            assert!(!is_older(other, (6, 6)), "{other}");
        }
    }
}
