//! The kernel's structures, read at offsets that the loader has found for the running kernel.

use tracer_common::drop::{Field, Layout};

/// Overwritten by userspace before the object is loaded, then frozen: the verifier takes its values
/// for constants, checks each offset against the kernel's types, and removes what this kernel lacks.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::UNKNOWN;

/// What userspace has set.
#[inline(always)]
pub(crate) fn layout() -> &'static Layout {
    &LAYOUT
}

/// The address of a structure of the kernel whose type the verifier knows. A load that turns out to
/// be at a bad address gives 0 (BPF_PROBE_MEM, Documentation/bpf/btf.rst), so that nothing read
/// here needs to be trusted before it is read.
#[derive(Clone, Copy)]
pub(crate) struct Structure(*const u8);

impl Structure {
    /// # Safety
    /// `address` must be one that the verifier knows the structure of: an argument of the program,
    /// or a pointer loaded from another structure.
    #[inline(always)]
    pub(crate) unsafe fn new(address: *const u8) -> Self {
        Self(address)
    }

    /// The value of a field, which must be one of this structure, of the field's size.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, field: Field) -> T {
        let address = self.0.wrapping_add(layout().offset(field)).cast::<T>();
        // SAFETY: the verifier refuses the program unless this is a field of the structure, and has
        // the kernel handle a bad address. Volatile, because the kernel changes it meanwhile.
        unsafe { address.read_volatile() }
    }

    /// The structure that a field points to; `None` when it points to nothing. The verifier wants
    /// the comparison with null where it knows that a field may be so.
    #[inline(always)]
    pub(crate) fn follow(self, field: Field) -> Option<Self> {
        let address: *const u8 = self.load(field);
        if address.is_null() { None } else { Some(Self(address)) }
    }

    /// As [`Structure::follow`] for a field that shares its place with others, and may hold what is
    /// no address: `None` unless it points into the kernel's half of the address space.
    #[inline(always)]
    pub(crate) fn follow_shared(self, field: Field) -> Option<Self> {
        let address: *const u8 = self.load(field);
        // By its sign and not by shifting it: the verifier refuses to calculate with pointers.
        if (address as i64) < 0 { Some(Self(address)) } else { None }
    }
}
