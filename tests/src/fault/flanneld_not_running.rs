//! flanneld has ended. What it wrote works on.

use super::{Fault, PLAIN, Reach, Severity, Strikes, Subject, flanneld};

pub(super) const FAULTS: [Fault; 1] = [Fault {
    name: "flanneld-not-running",
    code: "flanneld-not-running",
    summary: "flanneld has ended",
    severity: Severity::Warning,
    subject: Subject::Node,
    reach: Reach::Nobody,
    alone: true,
    strikes: Strikes::AllFamilies,
    breaks: |plan, site| flanneld(plan, site, &["stop NODE"]),
    heals: |plan, site| flanneld(plan, site, &["start NODE"]),
    ..PLAIN
}];
