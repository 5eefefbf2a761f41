//! The packet parser of flannel-tracer: pure functions over bytes, the same code in the kernel
//! and on the host, where it is unit-tested and property-tested. And what each object file of this
//! package holds beside its programs.

#![cfg_attr(target_arch = "bpf", no_std)]

pub mod parse;

/// What an object file needs beside its programs: a handler for panics, and the licence.
///
/// On the host the package's binaries have no meaning; cargo asks for a `main` all the same.
#[macro_export]
macro_rules! object {
    () => {
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

        #[cfg(not(target_arch = "bpf"))]
        fn main() {}
    };
}
