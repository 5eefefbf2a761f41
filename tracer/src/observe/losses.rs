use tracer_common::stage::{OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, TO_POD, WIRE_IN, WIRE_OUT};

use super::Moment;
use crate::{evidence::Losses, kernel::Reading};

/// Packets of a slot that certainly died between `start` and `end`.
pub(super) fn lost(start: &Moment, end: &Moment, slot: usize) -> Losses {
    let pair = |upstream: usize, downstream: usize| {
        let count = |reading: &Reading, index: usize| {
            reading.slots.get(slot).map_or(0, |slot| slot.packets[index])
        };
        let came = count(&end.early, upstream).saturating_sub(count(&start.late, upstream));
        let went = count(&end.late, downstream).saturating_sub(count(&start.early, downstream));
        came.saturating_sub(went)
    };
    Losses {
        pod_to_overlay: pair(POD_OUT, OVERLAY_OUT),
        overlay_to_wire: pair(OVERLAY_OUT, WIRE_OUT),
        wire_to_overlay: pair(WIRE_IN, OVERLAY_IN),
        overlay_to_pod: pair(TO_POD, POD_IN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SlotReading;

    fn reading(upstream: u64, downstream: u64) -> Reading {
        let mut slot = SlotReading::default();
        slot.packets[OVERLAY_OUT] = upstream;
        slot.packets[WIRE_OUT] = downstream;
        Reading { slots: vec![slot], ..Reading::default() }
    }

    fn moment(early: (u64, u64), late: (u64, u64)) -> Moment {
        Moment { early: reading(early.0, early.1), late: reading(late.0, late.1) }
    }

    #[test]
    fn packets_in_flight_at_either_end_are_no_loss() {
        // 100 packets a step pass both stages; at each reading up to 40 are in between.
        let start = moment((140, 100), (240, 220));
        let end = moment((1040, 1000), (1140, 1130));
        assert_eq!(lost(&start, &end, 0).overlay_to_wire, 0);
    }

    #[test]
    fn what_never_arrives_is_a_loss() {
        let start = moment((10, 0), (10, 0));
        let end = moment((110, 0), (110, 0));
        assert_eq!(lost(&start, &end, 0).overlay_to_wire, 100);
    }

    #[test]
    fn a_slot_that_does_not_exist_has_lost_nothing() {
        assert_eq!(lost(&Moment::default(), &Moment::default(), 7), Losses::default());
    }
}
