//! Drops: what the kernel says when it frees a packet unsent or undelivered, and what the drop
//! programs must be told of the running kernel to read it.

mod count;

pub use self::count::{DropFlowKey, DropFlowValue, DropKey, DropSlot, PROBES};

/// Places that are counted one by one on each CPU, a power of two; further ones are counted together.
pub const PLACES: u32 = 512;
/// Flows that are kept of what is dropped, of one IP version alone.
pub const DROP_FLOWS: u32 = 2048;

/// What the programs are told before they are loaded: where the running kernel keeps each
/// [`Field`], and whose drops count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    offsets: [u32; FIELDS],
    arguments: u32,
    namespace: u32,
    places: u32,
}

const _: () = {
    assert!(size_of::<Layout>() == 4 * (FIELDS + 3));
};

/// A field of the kernel's structures that a program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// `sk_buff.dev`, in a union with what UDP's receive queue keeps there.
    SkbDevice = 0,
    /// `sk_buff.sk`.
    SkbSocket = 1,
    /// `sk_buff.len`, in bytes.
    SkbLength = 2,
    /// `sk_buff.protocol`, the EtherType.
    SkbProtocol = 3,
    /// `sk_buff.head`, the address of the buffer.
    SkbHead = 4,
    /// `sk_buff.end`, the offset of the shared part in the buffer.
    SkbEnd = 5,
    /// `sk_buff.network_header`, the offset of the IP header in the buffer.
    SkbNetworkHeader = 6,
    /// `net_device.ifindex`.
    DeviceIndex = 7,
    /// `net_device.nd_net.net`.
    DeviceNamespace = 8,
    /// `sock.__sk_common.skc_net.net`.
    SocketNamespace = 9,
    /// `sock.__sk_common.skc_bound_dev_if`.
    SocketBoundIndex = 10,
    /// `net.ns.inum`, the inode number of the namespace.
    NamespaceInode = 11,
    /// `skb_shared_info.gso_size`, the payload of a segment in bytes.
    SharedSegmentSize = 12,
    /// `skb_shared_info.gso_segs`.
    SharedSegments = 13,
    /// `sk_buff.tail`, the offset in the buffer where its bytes end.
    SkbTail = 14,
    /// `sk_buff.data`, the address of the header that is being worked on.
    SkbData = 15,
    /// `sk_buff.skb_iif`, the index of the device that received the packet; 0 when it is sent.
    SkbReceivedBy = 16,
    /// `sk_buff._skb_refdst`, the address of the packet's route, with flags in its lowest bits.
    SkbRoute = 17,
    /// `rtable.rt_flags`; 0 where the kernel's types do not tell.
    RouteFlags4 = 18,
    /// `rt6_info.rt6i_flags`; 0 where the kernel's types do not tell.
    RouteFlags6 = 19,
    /// `net_device.ip_ptr`, what IPv4 knows of a device; 0 where the kernel's types do not tell.
    DeviceInet4 = 20,
    /// `in_device.ifa_list`, the first address; 0 as above.
    Inet4First = 21,
    /// `in_ifaddr.ifa_local`; 0 as above.
    Inet4Address = 22,
    /// `net_device.ip6_ptr`, what IPv6 knows of a device; 0 where the kernel has no IPv6.
    DeviceInet6 = 23,
    /// `inet6_dev.addr_list.next`, the link of the first address; 0 as above.
    Inet6First = 24,
    /// `inet6_ifaddr.if_list`, that link, behind the address that the structure begins with; 0 as
    /// above.
    Inet6Link = 25,
}

/// Fields of [`Field`].
pub const FIELDS: usize = 26;

/// Index into [`crate::names::DROP_TOTALS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DropTotal {
    /// Packets whose place found no slot.
    Other = 0,
    /// Packets of another network namespace that are no pod's of this node.
    Elsewhere = 1,
    /// Packets that name neither a device nor a socket, and so no namespace.
    Unplaced = 2,
    /// Entries made in the tables of flows: those that are no longer there were evicted.
    FlowInserts = 3,
}

/// Totals of [`DropTotal`].
pub const DROP_TOTALS: u32 = 4;

// === impl Field ===

impl Field {
    /// All fields, each at its own index.
    pub const ALL: [Self; FIELDS] = [
        Self::SkbDevice,
        Self::SkbSocket,
        Self::SkbLength,
        Self::SkbProtocol,
        Self::SkbHead,
        Self::SkbEnd,
        Self::SkbNetworkHeader,
        Self::DeviceIndex,
        Self::DeviceNamespace,
        Self::SocketNamespace,
        Self::SocketBoundIndex,
        Self::NamespaceInode,
        Self::SharedSegmentSize,
        Self::SharedSegments,
        Self::SkbTail,
        Self::SkbData,
        Self::SkbReceivedBy,
        Self::SkbRoute,
        Self::RouteFlags4,
        Self::RouteFlags6,
        Self::DeviceInet4,
        Self::Inet4First,
        Self::Inet4Address,
        Self::DeviceInet6,
        Self::Inet6First,
        Self::Inet6Link,
    ];

    /// Whether the drops can be counted without it: the last ones only tell whose a drop in a pod is.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        self as u32 >= Self::RouteFlags4 as u32
    }
}

// === impl Layout ===

impl Layout {
    /// Nothing known: what the programs hold before the loader overwrites it.
    pub const UNKNOWN: Self = Self::new([0; FIELDS], 2, 0, PLACES);

    /// `offsets` has for each [`Field`] its offset in bytes from the start of its structure.
    /// `arguments` is the number of arguments of the tracepoint `kfree_skb`: 2 without a reason,
    /// more with one (Linux 5.17). `namespace` is the inode number of the network namespace whose
    /// drops count. `places` is the number of slots for places, a power of two.
    #[must_use]
    pub const fn new(offsets: [u32; FIELDS], arguments: u32, namespace: u32, places: u32) -> Self {
        Self { offsets, arguments, namespace, places }
    }

    /// Where a field lies, in bytes from the start of its structure.
    #[inline(always)]
    #[must_use]
    pub fn offset(&self, field: Field) -> usize {
        load(&self.offsets[field as usize]) as usize
    }

    /// Whether the tracepoint hands over a reason.
    #[inline(always)]
    #[must_use]
    pub fn has_reason(&self) -> bool {
        load(&self.arguments) > 2
    }

    /// The inode number of the namespace whose drops count.
    #[inline(always)]
    #[must_use]
    pub fn namespace(&self) -> u32 {
        load(&self.namespace)
    }

    /// Slots for places.
    #[inline(always)]
    #[must_use]
    pub fn places(&self) -> u32 {
        load(&self.places)
    }
}

/// Reads a field whose initial value the loader replaces behind the compiler's back.
#[inline(always)]
fn load<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid, aligned and initialised.
    unsafe { core::ptr::read_volatile(field) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_stands_at_its_index() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index, "{field:?}");
        }
    }

    #[test]
    fn two_arguments_are_a_place_without_a_reason() {
        assert!(!Layout::UNKNOWN.has_reason());
        for arguments in [3, 4] {
            assert!(Layout::new([0; FIELDS], arguments, 7, 0).has_reason());
        }
    }
}
