//! Memory that is needed once.

/// Gives back to the kernel what loading the programs had needed: their parsed type information is
/// several MiB, which the allocator would keep for later.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the function has no preconditions (malloc_trim(3)).
        unsafe { libc::malloc_trim(0) };
    }
}
