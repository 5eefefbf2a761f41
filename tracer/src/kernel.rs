//! The eBPF side, seen from userspace: load, attach, read. The only module that names aya.

mod attach;
mod btf;
mod changes;
mod clock;
mod dns;
mod drops;
mod flow_table;
mod foreign;
mod ladder;
mod log;
mod memlock;
mod minimum;
mod objects;
mod places;
mod plan;
mod privileges;
mod reading;
mod refusal;
mod samples;
mod session;
mod sights;
mod symbols;
mod tail_calls;
mod vips;

pub use self::{
    attach::AttachMode,
    changes::{Changes, ChangesError},
    dns::{DnsReading, Overdue},
    drops::{
        DropEntries, DropError, DropFlowReading, DropOptions, DropReading, DropSession,
        DropVariant, PlaceReading, drop_capabilities,
    },
    ladder::{Standing, capabilities, capabilities_beside, probe},
    minimum::{MINIMUM_KERNEL, TooOld, require_kernel},
    objects::{Object, objects},
    plan::{Plan, PlannedHook, plan, plan_vips},
    reading::{FlowName, FlowReading, Reading, SlotReading},
    refusal::Refusal,
    samples::{Sample, SampleReading},
    session::{Last, Session, StartError},
    sights::SightCount,
    vips::{
        AnnouncedReading, AnnouncerReading, ClientReading, VipPlan, VipReading, VipSession,
        VipTable,
    },
};

/// What the programs are measured against: `empty`, `minimal`, `rotate`, `drop_bare` and
/// `drop_tuple` of tracer-ebpf/src/yardstick.rs. No node loads it, and no production binary holds it.
#[doc(hidden)]
pub static YARDSTICK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/yardstick"));
