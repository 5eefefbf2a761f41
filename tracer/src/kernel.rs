//! The eBPF side, seen from userspace: load, attach, read. The only module that names aya.

mod attach;
mod btf;
mod changes;
mod drops;
mod flow_table;
mod foreign;
mod ladder;
mod log;
mod memlock;
mod minimum;
mod objects;
mod plan;
mod privileges;
mod reading;
mod refusal;
mod session;
mod sights;
mod symbols;

pub use self::{
    attach::AttachMode,
    changes::{Changes, ChangesError},
    drops::{
        DropEntries, DropError, DropFlowReading, DropOptions, DropReading, DropSession,
        DropVariant, PlaceReading, drop_capabilities,
    },
    ladder::{Standing, capabilities, capabilities_beside, probe},
    minimum::{MINIMUM_KERNEL, TooOld, require_kernel},
    objects::{Object, objects},
    plan::{Plan, PlannedHook, plan},
    reading::{FlowName, FlowReading, Reading, SlotReading},
    refusal::Refusal,
    session::{Session, StartError},
    sights::SightCount,
};

/// What the programs are measured against: `empty`, `minimal` and `rotate` of
/// tracer-ebpf/src/yardstick.rs. No node loads it, and no production binary holds it.
#[doc(hidden)]
pub static YARDSTICK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/yardstick"));
