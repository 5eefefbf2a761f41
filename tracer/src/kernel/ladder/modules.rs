//! Type information of the modules that a flannel node's packets pass.

use std::{fs, path::Path};

use crate::evidence::Capability;

const FEATURE: &str = "module-btf";
/// Where the kernel shows its own type information and that of its modules.
const BTF: &str = "/sys/kernel/btf";
/// Where the kernel shows modules; a loaded one has a state.
const MODULES: &str = "/sys/module";
/// A module, and a function by which it is known in the kernel's own type information when it is
/// built in.
const WANTED: [(&str, &str); 5] = [
    ("vxlan", "vxlan_xmit"),
    ("bridge", "br_handle_frame"),
    ("nf_conntrack", "nf_conntrack_in"),
    ("nf_tables", "nft_do_chain"),
    ("veth", "veth_xmit"),
];

/// Where the types of a module are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types {
    /// In a file of its own.
    Own,
    /// In the kernel's, because the module is a part of it.
    BuiltIn,
    /// Nowhere, though it is loaded.
    Missing,
    /// Nowhere, because it is not loaded.
    Unloaded,
}

pub(super) fn rung() -> Capability {
    let kernel = fs::read(Path::new(BTF).join("vmlinux")).unwrap_or_default();
    let found: Vec<(&str, Types)> = WANTED
        .iter()
        .map(|(module, function)| (*module, find(module, function, &kernel)))
        .collect();
    judge(&found)
}

fn find(module: &str, function: &str, kernel: &[u8]) -> Types {
    if Path::new(BTF).join(module).exists() {
        return Types::Own;
    }
    if Path::new(MODULES).join(module).join("initstate").exists() {
        return Types::Missing;
    }
    // Names stand in it one after the other, each behind the zero that ends the one before.
    let name = [b"\0", function.as_bytes(), b"\0"].concat();
    let is_in_kernel = kernel.windows(name.len()).any(|window| window == name);
    if is_in_kernel { Types::BuiltIn } else { Types::Unloaded }
}

fn judge(found: &[(&str, Types)]) -> Capability {
    let of = |wanted: Types| -> Option<String> {
        let names = found.iter().filter(|(_, types)| *types == wanted).map(|(module, _)| *module);
        let names: Vec<&str> = names.collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let (own, built_in, missing) = (of(Types::Own), of(Types::BuiltIn), of(Types::Missing));
    let parts = [
        own.as_ref().map(|names| format!("types of {names}")),
        built_in.as_ref().map(|names| format!("built in: {names}")),
        missing.as_ref().map(|names| format!("without types: {names}")),
        of(Types::Unloaded).map(|names| format!("not loaded: {names}")),
    ];
    let because = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let lost = "typed programs on their functions";
    match (own.or(built_in), missing) {
        (Some(_), None) => super::on(FEATURE, because),
        (Some(_), Some(_)) => super::degraded(FEATURE, &because, lost),
        (None, _) => super::off(FEATURE, &because, lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CapabilityState;

    #[test]
    fn loaded_modules_without_types_degrade_and_unloaded_ones_only_when_there_is_nothing_else() {
        let all = judge(&[("vxlan", Types::Own), ("veth", Types::BuiltIn)]);
        assert_eq!(
            (all.state, all.because.as_str()),
            (CapabilityState::On, "types of vxlan; built in: veth",)
        );
        let unloaded = judge(&[("vxlan", Types::Own), ("nf_tables", Types::Unloaded)]);
        assert_eq!(unloaded.state, CapabilityState::On);
        let some = judge(&[("vxlan", Types::Missing), ("veth", Types::Own)]);
        assert_eq!(some.state, CapabilityState::Degraded);
        let none = judge(&[("vxlan", Types::Missing), ("veth", Types::Unloaded)]);
        assert_eq!(none.state, CapabilityState::Off);
        assert!(none.because.contains("without types: vxlan; not loaded: veth; lost: "));
        let nothing = judge(&[("vxlan", Types::Unloaded), ("veth", Types::Unloaded)]);
        assert_eq!(nothing.state, CapabilityState::Off);
        assert_eq!(
            nothing.because,
            "not loaded: vxlan, veth; lost: typed programs on their functions"
        );
    }

    #[test]
    fn a_built_in_function_is_found_by_its_whole_name() {
        let kernel = b"\0veth_xmit_all\0br_handle_frame\0";
        assert_eq!(find("no-such-module", "br_handle_frame", kernel), Types::BuiltIn);
        assert_eq!(find("no-such-module", "veth_xmit", kernel), Types::Unloaded);
    }
}
