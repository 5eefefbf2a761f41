//! The ring buffer by which rare records leave the kernel.

use aya::{maps::MapType, sys::is_map_supported};

use crate::{
    evidence::Capability,
    kernel::{
        privileges::Privilege,
        refusal::{Refusal, is_refusal},
    },
};

const FEATURE: &str = "ring-buffer";
const LOST: &str = "the programs' own complaints in the log, and samples";

/// Makes one, of a page.
pub(super) fn rung() -> Capability {
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => super::on(FEATURE, "the kernel makes one"),
        Ok(false) => super::off(FEATURE, "this kernel has no such map", LOST),
        Err(call) if is_refusal(&call.io_error) => {
            let refusal = Refusal::of(call.io_error, &[Privilege::Bpf]);
            super::off(FEATURE, &refusal.to_string(), LOST)
        }
        Err(call) => super::off(FEATURE, &call.io_error.to_string(), LOST),
    }
}
