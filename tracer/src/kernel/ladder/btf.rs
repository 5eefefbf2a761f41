//! The kernel's own type information.

use std::{fs::File, io::Read as _};

use crate::evidence::Capability;

/// Where the kernel shows it.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// What it begins with (include/uapi/linux/btf.h, BTF_MAGIC).
const MAGIC: u16 = 0xeb9f;
const FEATURE: &str = "btf";
const LOST: &str = "drop reasons, and who changed a table where only fentry can tell";

pub(super) fn rung() -> Capability {
    judge(KERNEL_BTF)
}

fn judge(path: &str) -> Capability {
    let mut begin = [0; size_of::<u16>()];
    match File::open(path).and_then(|mut file| file.read_exact(&mut begin)) {
        Ok(()) if u16::from_ne_bytes(begin) == MAGIC => {
            super::on(FEATURE, format!("{path} is there"))
        }
        Ok(()) => super::off(FEATURE, &format!("{path} is no type information"), LOST),
        Err(error) => {
            let because = format!(
                "{path} cannot be read ({error}): a kernel with CONFIG_DEBUG_INFO_BTF has it"
            );
            super::off(FEATURE, &because, LOST)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CapabilityState;

    #[test]
    fn a_kernel_without_type_information_says_so_and_what_is_lost() {
        let missing = judge("/nonexistent/vmlinux");
        assert_eq!(missing.state, CapabilityState::Off);
        for part in ["/nonexistent/vmlinux", "CONFIG_DEBUG_INFO_BTF", "; lost: drop reasons"] {
            assert!(missing.because.contains(part), "{}", missing.because);
        }
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), b"something else").unwrap();
        let path = other.path().to_str().unwrap();
        assert_eq!(judge(path).state, CapabilityState::Off);
        std::fs::write(other.path(), MAGIC.to_ne_bytes()).unwrap();
        assert_eq!(judge(path).state, CapabilityState::On);
    }
}
