//! Programs that are started with less than root has: fewer Linux capabilities, less memory to
//! lock, an older kernel's name, no type information. Each takes effect between fork and exec, so that it needs no program
//! of its own.

use std::{io, os::unix::process::CommandExt as _, process::Command};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        personality::{self, Persona},
        resource::{Resource, setrlimit},
    },
};

/// A Linux capability, by its number (include/uapi/linux/capability.h, 5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum Capability {
    NetAdmin = 12,
    SysPtrace = 19,
    SysResource = 24,
    Syslog = 34,
    Perfmon = 38,
    Bpf = 39,
}

/// Where a kernel shows its type information, if it was built with CONFIG_DEBUG_INFO_BTF.
const TYPES: &str = "/sys/kernel/btf";
/// More than any kernel has; the kernel says which is the first that it does not know.
const NUMBERS: std::ops::Range<u8> = 0..64;

// === impl Capability ===

impl Capability {
    /// All that the tracer has a use for.
    pub const ALL: [Self; 6] = [
        Self::Bpf,
        Self::NetAdmin,
        Self::Perfmon,
        Self::Syslog,
        Self::SysPtrace,
        Self::SysResource,
    ];
}

/// Gives a program a network namespace of its own, which has a loopback device only.
pub fn network(command: &mut Command) -> &mut Command {
    before_exec(command, || unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from))
}

/// Leaves a program, run as root, no capabilities but `kept`. What [`network`] and [`memory`] need
/// must come before.
pub fn capabilities<'a>(command: &'a mut Command, kept: &[Capability]) -> &'a mut Command {
    let kept: u64 = kept.iter().fold(0, |bits, capability| bits | 1 << *capability as u8);
    // A program of root has what the bounding set has (capabilities(7)).
    before_exec(command, move || {
        NUMBERS.filter(|number| kept >> number & 1 == 0).try_for_each(drop)
    })
}

/// Limits what a program may lock in memory, bytes; root with SYS_RESOURCE can raise it.
pub fn memory(command: &mut Command, soft: u64, hard: u64) -> &mut Command {
    before_exec(command, move || {
        setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard).map_err(io::Error::from)
    })
}

/// Tells a program that the kernel is some 2.6, as setarch(8) does (UNAME26 of personality(2)).
pub fn kernel(command: &mut Command) -> &mut Command {
    before_exec(command, || {
        let persona = personality::get()? | Persona::UNAME26;
        personality::set(persona).map(|_| ()).map_err(io::Error::from)
    })
}

/// Hides the kernel's type information from a program: in mounts of its own, an empty file system lies
/// over it.
pub fn types(command: &mut Command) -> &mut Command {
    let none = None::<&str>;
    before_exec(command, move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Else it would be hidden from everybody.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), TYPES, Some("tmpfs"), MsFlags::MS_RDONLY, none)?;
        Ok(())
    })
}

fn drop(number: u8) -> io::Result<()> {
    // SAFETY: this option of prctl(2) takes a number and touches no memory.
    let result =
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
    match Errno::result(result) {
        // The kernel does not know it.
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn before_exec(
    command: &mut Command,
    act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> &mut Command {
    // SAFETY: every caller in this module makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(act) }
}
