//! What a dropped packet's own bytes say, copied by `bpf_probe_read_kernel`.

use core::num::{NonZeroU16, NonZeroU64};

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracer_common::drop::{DropKindKey, Field};

use crate::structure::{Structure, layout};

/// IPv4 without options; also the beginning of IPv6.
type IpHeader = [u8; 20];
type UdpHeader = [u8; 8];
/// VXLAN header, inner Ethernet header without VLAN, inner IP header.
type Encapsulated = [u8; 42];

const UDP: u8 = 17;
/// Bytes of an IPv6 header without extensions.
const IPV6_LENGTH: u64 = 40;
/// Where the inner IP header begins in [`Encapsulated`].
const INNER_IP: usize = 22;
/// The flag of a VXLAN header with a VNI (RFC 7348).
const HAS_VNI: u8 = 0x08;

/// Segments of a packet: 1 unless the kernel holds several in one.
#[inline(always)]
pub(crate) fn segments(skb: Structure) -> u64 {
    let end = u64::from(skb.load::<u32>(Field::SkbEnd));
    let shared = skb.load::<u64>(Field::SkbHead).wrapping_add(end);
    let field = |field| read::<u16>(shared.wrapping_add(layout().offset(field) as u64));
    // A type that cannot be 0: the division is not to have a path that panics.
    let Some(size) = field(Field::SharedSegmentSize).and_then(NonZeroU16::new) else { return 1 };
    match field(Field::SharedSegments) {
        // Virtio and TUN leave the number to us. The headers make it at most one too many.
        None | Some(0) => {
            let size = NonZeroU64::from(size);
            (u64::from(skb.load::<u32>(Field::SkbLength)) + size.get() - 1) / size
        }
        Some(segments) => u64::from(segments),
    }
}

/// Adds to a kind what the packet's IP header says, and that of the packet inside VXLAN.
#[inline(always)]
pub(crate) fn describe(skb: Structure, kind: &mut DropKindKey) {
    let offset = u64::from(skb.load::<u16>(Field::SkbNetworkHeader));
    let start = skb.load::<u64>(Field::SkbHead).wrapping_add(offset);
    let Some(header) = read::<IpHeader>(start) else { return };
    let Some((_, protocol, length)) = ip(&header, kind.ethertype()) else { return };
    kind.set_protocol(protocol);
    if protocol == UDP && !is_later_fragment(&header) {
        describe_inner(start.wrapping_add(length), kind);
    }
}

#[inline(always)]
fn describe_inner(udp: u64, kind: &mut DropKindKey) {
    let port = layout().vxlan_port();
    let Some(header) = read::<UdpHeader>(udp) else { return };
    if port == 0 || u16::from_be_bytes([header[2], header[3]]) != port {
        return;
    }
    let vxlan = udp.wrapping_add(size_of::<UdpHeader>() as u64);
    let Some(bytes) = read::<Encapsulated>(vxlan) else { return };
    let ethertype = u16::from_be_bytes([bytes[INNER_IP - 2], bytes[INNER_IP - 1]]);
    let Some((_, header)) = bytes.split_first_chunk::<INNER_IP>() else { return };
    let Some(header) = header.first_chunk() else { return };
    if bytes[0] & HAS_VNI != 0
        && let Some((version, protocol, _)) = ip(header, ethertype)
    {
        kind.set_inner(version, protocol);
    }
}

/// Version, protocol and length in bytes of an IP header; `None` when it is none, or another than
/// the EtherType says. IPv6 extension headers are not followed.
#[inline(always)]
fn ip(header: &IpHeader, ethertype: u16) -> Option<(u8, u8, u64)> {
    match (ethertype, header[0] >> 4) {
        (0x0800, 4) => Some((4, header[9], u64::from(header[0] & 0xf) * 4)),
        (0x86dd, 6) => Some((6, header[6], IPV6_LENGTH)),
        _ => None,
    }
}

/// Whether it is IPv4 and has no transport header, being a later fragment.
#[inline(always)]
fn is_later_fragment(header: &IpHeader) -> bool {
    header[0] >> 4 == 4 && u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0
}

/// A copy of what lies at an address of the kernel; `None` when nothing does.
#[inline(always)]
fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper takes any address and copies into a value of the type's size; every bit
    // pattern is a value of the integers and byte arrays that are read here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
