//! Options of the eBPF linker.

fn main() {
    // Packet headers are not aligned. Without this the compiler reads them byte by byte, although
    // every kernel that runs the tracer allows unaligned reads of packet data on x86 and arm64.
    println!("cargo:rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    println!("cargo:rerun-if-changed=build.rs");
}
