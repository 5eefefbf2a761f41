//! The eBPF side, seen from userspace: load, attach, read. The only module that names aya.

mod attach;
mod foreign;
mod log;
mod plan;
mod reading;
mod session;
mod support;

pub use self::{
    attach::AttachMode,
    plan::{Plan, PlannedHook, plan},
    reading::{FlowReading, Reading, SlotReading},
    session::{Session, StartError},
    support::{MINIMUM_KERNEL, TooOld, capabilities, probe, require_kernel},
};
