//! What the programs need to know of the running kernel, from its own types.

use std::collections::BTreeMap;

use tracer_common::{
    drop::{FIELDS, Field, Layout},
    names,
};

use super::DropError;
use crate::kernel::btf::{self, Btf};

/// The kernel's enum of reasons (include/net/dropreason-core.h), since 5.17.
const REASONS: &str = "skb_drop_reason";
/// What most of its names begin with.
const PREFIXES: [&str; 2] = ["SKB_DROP_REASON_", "SKB_"];

/// What is kept of the kernel's types: they themselves take megabytes.
pub(super) struct KernelTypes {
    offsets: [u32; FIELDS],
    arguments: u32,
    /// Names by number; `None` when the kernel gives no reasons.
    reasons: Option<BTreeMap<u32, String>>,
}

// === impl KernelTypes ===

impl KernelTypes {
    pub(super) fn read() -> Result<Self, DropError> {
        Self::of(&Btf::of_kernel()?)
    }

    fn of(btf: &Btf) -> Result<Self, DropError> {
        let mut offsets = [0; FIELDS];
        for field in Field::ALL {
            let (structure, path) = place(field);
            let offset = btf.offset(structure, path);
            if offset.is_none() && field.is_optional() {
                continue;
            }
            offsets[field as usize] = offset.ok_or_else(|| {
                missing(&format!("struct {structure} without {}", path.join(".")))
            })?;
        }
        let arguments = btf
            .tracepoint_arguments(names::KFREE_SKB)
            .ok_or_else(|| missing("no tracepoint kfree_skb"))?;
        let reasons = btf.enumerators(REASONS).filter(|_| arguments > 2);
        let reasons = reasons.map(|all| {
            all.into_iter().map(|(number, name)| (number, plain(name).to_owned())).collect()
        });
        Ok(Self { offsets, arguments, reasons })
    }

    /// What the programs are told.
    pub(super) fn layout(&self, namespace: u32, places: u32) -> Layout {
        Layout::new(self.offsets, self.arguments, namespace, places)
    }

    /// How many reasons the kernel has names for; `None` when it gives no reasons.
    pub(super) fn reasons(&self) -> Option<usize> {
        self.reasons.as_ref().map(BTreeMap::len)
    }

    /// The name of a reason, without its prefix; `None` when the kernel gives no reasons.
    /// Subsystems in modules have reasons whose names are not among the kernel's own types.
    pub(super) fn reason(&self, number: u32) -> Option<String> {
        let reasons = self.reasons.as_ref()?;
        Some(reasons.get(&number).cloned().unwrap_or_else(|| format!("{number:#x}")))
    }
}

fn missing(what: &str) -> DropError {
    DropError::Types(format!("{} has {what}", btf::PATH))
}

fn plain(name: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

/// Structure and path of a field, the same from Linux 5.10 to 7.2.
fn place(field: Field) -> (&'static str, &'static [&'static str]) {
    match field {
        Field::SkbDevice => ("sk_buff", &["dev"]),
        Field::SkbSocket => ("sk_buff", &["sk"]),
        Field::SkbLength => ("sk_buff", &["len"]),
        Field::SkbProtocol => ("sk_buff", &["protocol"]),
        Field::SkbHead => ("sk_buff", &["head"]),
        Field::SkbEnd => ("sk_buff", &["end"]),
        Field::SkbNetworkHeader => ("sk_buff", &["network_header"]),
        Field::DeviceIndex => ("net_device", &["ifindex"]),
        Field::DeviceNamespace => ("net_device", &["nd_net", "net"]),
        Field::SocketNamespace => ("sock", &["__sk_common", "skc_net", "net"]),
        Field::SocketBoundIndex => ("sock", &["__sk_common", "skc_bound_dev_if"]),
        Field::NamespaceInode => ("net", &["ns", "inum"]),
        Field::SharedSegmentSize => ("skb_shared_info", &["gso_size"]),
        Field::SharedSegments => ("skb_shared_info", &["gso_segs"]),
        Field::SkbTail => ("sk_buff", &["tail"]),
        Field::SkbData => ("sk_buff", &["data"]),
        Field::SkbReceivedBy => ("sk_buff", &["skb_iif"]),
        Field::SkbRoute => ("sk_buff", &["_skb_refdst"]),
        Field::RouteFlags4 => ("rtable", &["rt_flags"]),
        Field::RouteFlags6 => ("rt6_info", &["rt6i_flags"]),
        Field::DeviceInet4 => ("net_device", &["ip_ptr"]),
        Field::Inet4First => ("in_device", &["ifa_list"]),
        Field::Inet4Address => ("in_ifaddr", &["ifa_local"]),
        Field::DeviceInet6 => ("net_device", &["ip6_ptr"]),
        Field::Inet6First => ("inet6_dev", &["addr_list", "next"]),
        Field::Inet6Link => ("inet6_ifaddr", &["if_list"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_names_without_prefix_and_numbers_where_they_have_none() {
        let name = |name| plain(name).to_owned();
        let reasons =
            BTreeMap::from([(1, name("SKB_CONSUMED")), (3, name("SKB_DROP_REASON_NO_SOCKET"))]);
        let mut types = KernelTypes { offsets: [0; FIELDS], arguments: 3, reasons: Some(reasons) };
        let named = [1, 3, 0x2_0001].map(|number| types.reason(number).unwrap());
        assert_eq!(named, ["CONSUMED", "NO_SOCKET", "0x20001"]);
        types.reasons = None;
        assert_eq!(types.reason(3), None);
    }

    #[test]
    fn every_field_is_found_in_the_running_kernel() {
        // A kernel without type information has nothing to find.
        let Ok(btf) = Btf::of_kernel() else { return };
        let types = KernelTypes::of(&btf).unwrap_or_else(|error| panic!("{error}"));
        let layout = types.layout(1, 512);
        assert_eq!(layout.has_reason(), types.reasons().is_some());
        assert!(layout.offset(Field::SkbHead) < 256);
        for field in
            [Field::RouteFlags4, Field::DeviceInet4, Field::Inet4First, Field::Inet4Address]
        {
            assert_ne!(layout.offset(field), 0, "{field:?}");
        }
    }
}
