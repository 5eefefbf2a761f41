//! Who answers for VIPs, an object of its own: whatever a kernel refuses of it, the stages load.
//!
//! Two programs, one for each side of a device on which VIPs may be, read ARP and IPv6 neighbour
//! discovery and let every packet pass.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(target_arch = "bpf")]
mod counts;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod program;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}

/// The kernel asks for a licence compatible with the GPL before it lends the helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The package's binary has no meaning on the host; cargo asks for a `main` all the same.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
