//! Options of the eBPF linker.

fn main() {
    // bpf-linker keeps the compiler from expanding memset and memcpy unless told otherwise. As
    // calls they cost the packet path dear, and the verifier refuses their loops over pointers to
    // the stack to a process without CAP_PERFMON.
    println!("cargo:rustc-link-arg-bins=--disable-expand-memcpy-in-order");
    println!("cargo:rerun-if-changed=build.rs");
}
