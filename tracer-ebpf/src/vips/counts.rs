//! The VIPs, as userspace has told of them, and what was counted of each.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use tracer_common::vip::{self, ANNOUNCED, Announced, HINTS, Owner, VipAddress, VipCounts};

#[map]
static VIPS: HashMap<VipAddress, u32> = HashMap::with_max_entries(vip::VIPS, 0);

#[map]
static VIP_HINTS: Array<u32> = Array::with_max_entries(HINTS, 0);

#[map]
static VIP_COUNTS: PerCpuArray<VipCounts> = PerCpuArray::with_max_entries(vip::VIPS, 0);

#[map]
static VIP_OWNERS: Array<Owner> = Array::with_max_entries(vip::VIPS, 0);

#[map]
static VIP_ANNOUNCED: HashMap<VipAddress, Announced> = HashMap::with_max_entries(ANNOUNCED, 0);

#[map]
static VIP_UNANNOUNCED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Somebody asks for an address.
#[inline(always)]
pub(crate) fn request(direction: usize, target: VipAddress, sender: VipAddress, mac: u64) {
    let Some(number) = number(&target) else { return };
    let Some(counts) = VIP_COUNTS.get_ptr_mut(number) else { return };
    // SAFETY: the pointer is this CPU's value; tc programs run with bottom halves off, so nothing
    // else on this CPU touches it meanwhile.
    unsafe { &mut *counts }.request(direction, sender, mac, now());
}

/// Somebody says that an address is theirs.
#[inline(always)]
pub(crate) fn claim(
    direction: usize,
    ifindex: u32,
    address: VipAddress,
    mac: u64,
    is_gratuitous: bool,
) {
    let Some(number) = number(&address) else {
        if is_gratuitous {
            announced(direction, ifindex, address, mac);
        }
        return;
    };
    let now = now();
    if let Some(counts) = VIP_COUNTS.get_ptr_mut(number) {
        // SAFETY: as above.
        unsafe { &mut *counts }.claim(direction, mac, is_gratuitous, now);
    }
    if let Some(owner) = VIP_OWNERS.get_ptr_mut(number) {
        // SAFETY: the value lives as long as the map, and is made of numbers, each of which is
        // written as a whole: another CPU may see some of them old and some new, see `Owner`.
        unsafe { &mut *owner }.claim(mac, is_gratuitous, now);
    }
}

/// The number of a VIP; `None` for other addresses, for most of which an array tells.
#[inline(always)]
fn number(address: &VipAddress) -> Option<u32> {
    if *VIP_HINTS.get(vip::hint(address))? == 0 {
        return None;
    }
    // SAFETY: userspace may take the entry out, and the kernel give its memory to another VIP, while
    // this reads it: then one frame counts for that one. The value is one number, read whole.
    unsafe { VIPS.get(address) }.copied()
}

/// Remembers an address that may be a VIP, where it is new.
#[inline(always)]
fn announced(direction: usize, ifindex: u32, address: VipAddress, mac: u64) {
    // SAFETY: the value is not used.
    if unsafe { VIP_ANNOUNCED.get(&address) }.is_some() {
        return;
    }
    let entry = Announced { mac, time: now(), ifindex, direction: direction as u32 };
    if VIP_ANNOUNCED.insert(&address, &entry, BPF_NOEXIST.into()).is_err()
        && let Some(counter) = VIP_UNANNOUNCED.get_ptr_mut(0)
    {
        // SAFETY: as above.
        unsafe { *counter += 1 };
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper reads a clock.
    unsafe { bpf_ktime_get_ns() }
}
