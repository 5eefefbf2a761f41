//! Requests to change the kernel's tables, as the program that sees them counts them.

/// Per-CPU array by [`slot`]: requests, `u64`.
pub const REQUESTS: &str = "REQUESTS";
/// The program for fentry.
pub const FENTRY: &str = "request_fentry";
/// The program for a kprobe.
pub const KPROBE: &str = "request_kprobe";

/// Message types that have a slot of their own; the newest is 123 (include/uapi/linux/rtnetlink.h,
/// RTM_MAX, 6.12).
pub const MESSAGE_TYPES: u32 = 128;

/// Index of a message type (`RTM_…`); of those that are no requests, and of those to come, 0,
/// which is none of rtnetlink's.
#[inline(always)]
#[must_use]
pub const fn slot(message_type: u16) -> u32 {
    let message_type = message_type as u32;
    if message_type < MESSAGE_TYPES { message_type } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_type_has_a_slot_inside_the_map() {
        assert_eq!((slot(26), slot(127), slot(128), slot(u16::MAX)), (26, 127, 0, 0));
    }
}
