//! The eBPF side, seen from userspace: load, attach, read. The only module that names aya.

mod attach;
mod foreign;
mod log;
mod objects;
mod plan;
mod reading;
mod session;
mod support;

pub use self::{
    attach::AttachMode,
    objects::{Object, objects},
    plan::{Plan, PlannedHook, plan},
    reading::{FlowReading, Reading, SlotReading},
    session::{Session, StartError},
    support::{MINIMUM_KERNEL, TooOld, capabilities, probe, require_kernel},
};

/// What the programs are measured against: `empty`, `minimal` and `rotate` of
/// tracer-ebpf/src/yardstick.rs. No node loads it, and no production binary holds it.
#[doc(hidden)]
pub static YARDSTICK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/yardstick"));
