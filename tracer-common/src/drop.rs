//! Drops: what the kernel says when it frees a packet unsent or undelivered, and what the drop
//! programs must be told of the running kernel to read it.

/// Places that are counted one by one; further ones are counted together.
pub const DROPS: u32 = 4096;
/// Kinds of packets at places that are counted one by one.
pub const DROP_KINDS: u32 = 8192;

/// Where and why the kernel drops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropKey {
    location: u64,
    reason: u32,
    ifindex: u32,
}

/// What kind of packet is dropped at a place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropKindKey {
    place: DropKey,
    ethertype: [u8; 2],
    protocol: u8,
    inner_version: u8,
    inner_protocol: u8,
    is_read: u8,
    _pad: [u8; 2],
}

/// What one CPU has counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropValue {
    packets: u64,
    bytes: u64,
}

/// What the programs are told before they are loaded: where the running kernel keeps each
/// [`Field`], and whose drops count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    offsets: [u32; FIELDS],
    arguments: u32,
    namespace: u32,
    vxlan_port: u32,
}

const _: () = {
    assert!(size_of::<DropKey>() == 16);
    assert!(align_of::<DropKey>() == 8);
    assert!(size_of::<DropKindKey>() == 24);
    assert!(core::mem::offset_of!(DropKindKey, ethertype) == 16);
    assert!(size_of::<DropValue>() == 16);
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
}

/// Fields of [`Field`].
pub const FIELDS: usize = 14;

/// Index into [`crate::names::DROP_TOTALS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DropTotal {
    /// Packets whose place found no entry.
    Other = 0,
    /// Bytes of these.
    OtherBytes = 1,
    /// Packets whose kind found no entry; their place has counted them.
    OtherKind = 2,
    /// Packets of another network namespace.
    Elsewhere = 3,
    /// Packets that name neither a device nor a socket, and so no namespace.
    Unplaced = 4,
}

/// Totals of [`DropTotal`].
pub const DROP_TOTALS: u32 = 5;

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
    ];
}

// === impl Layout ===

impl Layout {
    /// Nothing known: what the programs hold before the loader overwrites it.
    pub const UNKNOWN: Self = Self::new([0; FIELDS], 2, 0, 0);

    /// `offsets` has for each [`Field`] its offset in bytes from the start of its structure.
    /// `arguments` is the number of arguments of the tracepoint `kfree_skb`: 2 without a reason,
    /// more with one (Linux 5.17). `namespace` is the inode number of the network namespace whose
    /// drops count. `vxlan_port` is the UDP port that carries VXLAN; 0: look into no packet.
    #[must_use]
    pub const fn new(
        offsets: [u32; FIELDS],
        arguments: u32,
        namespace: u32,
        vxlan_port: u16,
    ) -> Self {
        Self { offsets, arguments, namespace, vxlan_port: vxlan_port as u32 }
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

    /// The UDP port that carries VXLAN; 0 when none is known.
    #[inline(always)]
    #[must_use]
    pub fn vxlan_port(&self) -> u16 {
        load(&self.vxlan_port) as u16
    }
}

// === impl DropKey ===

impl DropKey {
    /// A place: the address that called for the drop, the kernel's number for its reason (0
    /// without one), and the device's index (0 when the packet had none).
    #[inline(always)]
    #[must_use]
    pub const fn new(location: u64, reason: u32, ifindex: u32) -> Self {
        Self { location, reason, ifindex }
    }

    /// The kernel address that the call to drop returns to.
    #[must_use]
    pub const fn location(&self) -> u64 {
        self.location
    }

    /// The running kernel's number of the reason; numbers differ between kernels.
    #[must_use]
    pub const fn reason(&self) -> u32 {
        self.reason
    }

    /// Index of the device; 0 when the packet had none.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }
}

// === impl DropKindKey ===

impl DropKindKey {
    /// A packet of which only the EtherType is known, as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn new(place: DropKey, ethertype: u16) -> Self {
        Self {
            place,
            ethertype: ethertype.to_ne_bytes(),
            protocol: 0,
            inner_version: 0,
            inner_protocol: 0,
            is_read: 0,
            _pad: [0; 2],
        }
    }

    /// Adds the IP protocol that the packet's own header names.
    #[inline(always)]
    pub const fn set_protocol(&mut self, protocol: u8) {
        self.protocol = protocol;
        self.is_read = 1;
    }

    /// Adds what the packet carries through VXLAN: IP version and protocol; both 0 when it is no IP.
    #[inline(always)]
    pub const fn set_inner(&mut self, version: u8, protocol: u8) {
        self.inner_version = version;
        self.inner_protocol = protocol;
    }

    /// Where such packets are dropped.
    #[must_use]
    pub const fn place(&self) -> DropKey {
        self.place
    }

    /// EtherType of the packet, of the outer one when it is encapsulated already.
    #[must_use]
    pub const fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }

    /// IP protocol of the packet; `None` when its header was not read or is no IP header.
    #[must_use]
    pub const fn protocol(&self) -> Option<u8> {
        if self.is_read == 0 { None } else { Some(self.protocol) }
    }

    /// IP version and protocol of the packet inside VXLAN; `None` when there is none.
    #[must_use]
    pub const fn inner(&self) -> Option<(u8, u8)> {
        match self.inner_version {
            0 => None,
            version => Some((version, self.inner_protocol)),
        }
    }
}

// === impl DropValue ===

impl DropValue {
    /// A value of nothing yet.
    pub const ZERO: Self = Self::new(0, 0);

    /// Packets in segments, and their bytes.
    #[must_use]
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    /// Segments; packets as the kernel held them where segments cannot be read.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes as the kernel held them, from the header that it worked on.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds packets and their bytes.
    #[inline(always)]
    pub const fn count(&mut self, packets: u64, bytes: u64) {
        self.packets = self.packets.wrapping_add(packets);
        self.bytes = self.bytes.wrapping_add(bytes);
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

    #[test]
    fn a_kind_says_what_was_read_of_it() {
        let mut kind = DropKindKey::new(DropKey::new(1, 2, 3), 0x0800_u16.to_be());
        assert_eq!((kind.ethertype(), kind.protocol(), kind.inner()), (0x0800, None, None));
        kind.set_protocol(0);
        assert_eq!(kind.protocol(), Some(0));
        kind.set_inner(4, 17);
        assert_eq!(kind.inner(), Some((4, 17)));
    }
}
