//! flanneld uses most of the memory that its cgroup allows. Packets go on.

use super::{Fault, PLAIN, Reach, Severity, Strikes, Subject, flanneld};

/// What it may use, bytes.
const LIMIT: u64 = 64 << 20;
/// How much of it it fills, in percent; its program comes on top of this.
const FILLED: u64 = 85;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flanneld-memory-near-limit",
    code: "flanneld-memory-near-limit",
    summary: "flanneld has almost used up its memory",
    severity: Severity::Warning,
    subject: Subject::Node,
    reach: Reach::Nobody,
    alone: true,
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| {
        flanneld(plan, site, &["stop NODE", &format!("fill NODE {LIMIT} {FILLED}")])
    },
    heals: |plan, site| flanneld(plan, site, &["stop NODE", "free NODE", "start NODE"]),
    ..PLAIN
}];
