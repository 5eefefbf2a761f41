//! Somebody else's program on a hook, by bpf(2) itself: nothing here goes through the tracer's code
//! but the netlink request that adds a clsact filter.

use std::{
    num::NonZeroU32,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use tracer::{
    evidence::HookDirection,
    netlink::traffic_control::{add_filter, ensure_clsact},
};
use tracer_tests::{
    bpf::{self, TCX},
    matrix::Attach,
    netns,
};

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const PROG_LOAD: i64 = 5;
const LINK_CREATE: i64 = 28;
/// BPF_MAP_TYPE_ARRAY
const ARRAY: u32 = 2;
/// BPF_PROG_TYPE_SCHED_CLS
const SCHED_CLS: u32 = 3;
/// Between the tracer's priorities, which are the first at ingress and the last at egress.
const PRIORITY: u16 = 700;
const HANDLE: NonZeroU32 = NonZeroU32::MIN;

/// How a foreign program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Tcx,
    Clsact,
}

impl From<Attach> for Way {
    fn from(attach: Attach) -> Self {
        match attach {
            Attach::Tcx => Self::Tcx,
            Attach::Clsact => Self::Clsact,
        }
    }
}

/// A program that counts what it sees and leaves the verdict to others. By TCX it is detached on
/// drop; a clsact filter stays, as those of other software do.
#[derive(Debug)]
pub(crate) struct Foreign {
    counter: OwnedFd,
    _program: OwnedFd,
    _link: Option<OwnedFd>,
}

/// The beginning of `union bpf_attr` for each command; the kernel takes the rest as zeros.
#[repr(C)]
struct CreateMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

#[repr(C)]
struct LookUp {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct LoadProgram {
    kind: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log: [u64; 2],
}

#[repr(C)]
struct CreateLink {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    /// The place relative to another program, and the revision expected: none.
    tcx: [u64; 2],
}

// === impl Foreign ===

impl Foreign {
    /// Attaches one at the end of a hook's chain, or between the tracer's filters.
    pub(crate) fn attach(
        namespace: &str,
        device: &str,
        direction: HookDirection,
        way: Way,
    ) -> Result<Self> {
        netns::run_in(namespace, || {
            let ifindex = if_nametoindex(device).context("device")?;
            let mut attributes = CreateMap { kind: ARRAY, key_size: 4, value_size: 8, entries: 1 };
            // SAFETY: these are the attributes of the command, without addresses.
            let counter = unsafe { bpf::descriptor(MAP_CREATE, &mut attributes) }?;
            let program = load(&counter)?;
            let link = match way {
                Way::Tcx => {
                    let program = raw(&program);
                    let attach_type = TCX[direction as usize];
                    let mut attributes =
                        CreateLink { program, ifindex, attach_type, flags: 0, tcx: [0; 2] };
                    // SAFETY: these are the attributes of the command, without addresses.
                    Some(unsafe { bpf::descriptor(LINK_CREATE, &mut attributes) }?)
                }
                Way::Clsact => {
                    ensure_clsact(ifindex)?;
                    add_filter(ifindex, direction, program.as_fd(), "foreign", PRIORITY, HANDLE)?;
                    None
                }
            };
            Ok(Self { counter, _program: program, _link: link })
        })
    }

    /// Packets that it has seen.
    pub(crate) fn seen(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut attributes = LookUp {
            map: raw(&self.counter),
            _pad: 0,
            key: &raw const key as u64,
            value: &raw mut value as u64,
            flags: 0,
        };
        // SAFETY: these are the attributes of the command; key and value outlive the call.
        unsafe { bpf::call(MAP_LOOKUP_ELEM, &mut attributes) }?;
        Ok(value)
    }
}

/// `counter += 1; return -1`, in which -1 is TC_ACT_UNSPEC and TCX_NEXT.
fn load(counter: &OwnedFd) -> Result<OwnedFd> {
    let fd = u64::from(raw(counter)) << 32;
    let code: [u64; 6] = [
        // r1 = address of the map's only value (BPF_PSEUDO_MAP_VALUE), two slots
        0x2118 | fd,
        0,
        // r2 = 1
        0x0000_0001_0000_02b7,
        // lock *(u64 *)(r1 + 0) += r2
        0x0000_0000_0000_21db,
        // r0 = -1
        0xffff_ffff_0000_00b7,
        // exit
        0x95,
    ];
    let mut attributes = LoadProgram {
        kind: SCHED_CLS,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        log: [0; 2],
    };
    // SAFETY: these are the attributes of the command; code and licence outlive the call.
    unsafe { bpf::descriptor(PROG_LOAD, &mut attributes) }.context("a foreign program")
}

fn raw(fd: &OwnedFd) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or_default()
}
