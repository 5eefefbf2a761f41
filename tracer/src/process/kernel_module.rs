//! Whether this kernel has a module, loaded or not. Asking the kernel to make a device would load
//! the module, so files are read instead.

use std::{fs, io, path::Path};

use crate::evidence::ModuleState;

/// Where the files of modules are: here, or, in a container, with the node's first process.
const ROOTS: [&str; 2] = ["/", "/proc/1/root"];
/// Loaded modules, and those built in that have a parameter or a version.
const SYSFS: &str = "/sys/module";

/// The state of a module of the kernel `release`.
pub(super) fn state(module: &str, release: &str) -> ModuleState {
    if Path::new(SYSFS).join(module).exists() {
        return ModuleState::Present;
    }
    let states = ROOTS.iter().map(|root| on_disk(Path::new(root), module, release));
    states.fold(ModuleState::Unknown, |known, found| match (known, found) {
        (ModuleState::Present, _) | (_, ModuleState::Present) => ModuleState::Present,
        (ModuleState::Missing, _) | (_, ModuleState::Missing) => ModuleState::Missing,
        _ => ModuleState::Unknown,
    })
}

/// What the lists of depmod below `root` say. Both must be there to say that it is missing.
fn on_disk(root: &Path, module: &str, release: &str) -> ModuleState {
    let folder = root.join("lib/modules").join(release);
    let lists =
        ["modules.dep", "modules.builtin"].map(|list| fs::read_to_string(folder.join(list)));
    let names = |list: &io::Result<String>| {
        list.as_ref().is_ok_and(|text| text.lines().any(|line| name(line) == module))
    };
    if lists.iter().any(names) {
        ModuleState::Present
    } else if lists.iter().all(Result::is_ok) {
        ModuleState::Missing
    } else {
        ModuleState::Unknown
    }
}

/// `vxlan` of `kernel/drivers/net/vxlan/vxlan.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz`.
fn name(line: &str) -> &str {
    let path = line.split(':').next().unwrap_or(line);
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of vxlan where depmod's lists have these texts.
    fn told(dep: Option<&str>, builtin: Option<&str>) -> ModuleState {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lib/modules/6.12.0");
        fs::create_dir_all(&folder).unwrap();
        for (list, text) in [("modules.dep", dep), ("modules.builtin", builtin)] {
            if let Some(text) = text {
                fs::write(folder.join(list), text).unwrap();
            }
        }
        on_disk(root.path(), "vxlan", "6.12.0")
    }

    #[test]
    fn a_module_is_found_loadable_or_built_in() {
        let line = "kernel/drivers/net/vxlan/vxlan.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz\n";
        assert_eq!(told(Some(line), None), ModuleState::Present);
        assert_eq!(told(Some(""), Some("kernel/drivers/net/vxlan.ko\n")), ModuleState::Present);
    }

    #[test]
    fn missing_is_said_only_when_both_lists_were_read() {
        let other = "kernel/net/openvswitch/vport-vxlan.ko: kernel/drivers/net/vxlan/vxlan.ko\n";
        assert_eq!(told(Some(other), Some("kernel/fs/ext4.ko\n")), ModuleState::Missing);
        assert_eq!(told(Some(other), None), ModuleState::Unknown);
        assert_eq!(told(None, Some("")), ModuleState::Unknown);
    }

    #[test]
    fn a_kernel_without_files_is_unknown_and_not_without_the_module() {
        assert_eq!(state("no-such-module", "0.0.0-none"), ModuleState::Unknown);
    }
}
