//! `cleanup`: remove what a killed tracer left on kernels without TCX, and nothing else.

use tracer::{
    evidence::HookDirection,
    netlink::traffic_control::{Removed, remove_leftovers},
};

use super::{Failure, Status, say, unobserved};

const NOTHING: &str = "nothing to remove: no killed tracer left a filter in this network namespace";

pub(crate) fn run() -> Result<Status, Failure> {
    let removed = remove_leftovers().map_err(unobserved)?;
    say(|out| {
        for filter in &removed {
            writeln!(out, "removed {}", describe(filter))?;
        }
        if removed.is_empty() {
            writeln!(out, "{NOTHING}")?;
        }
        Ok(())
    })?;
    Ok(Status::Fine)
}

fn describe(removed: &Removed) -> String {
    let side = match removed.direction {
        HookDirection::Ingress => "ingress",
        HookDirection::Egress => "egress",
    };
    let qdisc = if removed.qdisc_deleted { ", and the clsact qdisc with it" } else { "" };
    format!("the {side} filter of device {}{qdisc}", removed.ifindex)
}
