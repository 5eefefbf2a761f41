//! The kernel kills flanneld for want of memory, and it is started anew in the same cgroup, as a
//! kubelet does in the same pod. Packets go on.

use super::{Fault, PLAIN, Reach, Severity, Strikes, Subject, flanneld};

/// What it may use, bytes.
const LIMIT: u64 = 30 << 20;

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flanneld-oom-killed",
    code: "flanneld-oom-killed",
    summary: "flanneld was killed for want of memory",
    severity: Severity::Warning,
    subject: Subject::Node,
    reach: Reach::Nobody,
    alone: true,
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| flanneld(plan, site, &["stop NODE", &format!("exhaust NODE {LIMIT}")]),
    heals: |plan, site| flanneld(plan, site, &["stop NODE", "free NODE", "start NODE"]),
    ..PLAIN
}];
