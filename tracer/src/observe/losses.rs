use tracer_common::{
    peer::OTHER,
    stage::{HOST, OVERLAY_IN, OVERLAY_OUT, POD_IN, POD_OUT, TO_POD, WIRE_IN, WIRE_OUT},
};

use super::Moment;
use crate::{evidence::Losses, kernel::Reading};

/// Packets of a slot that certainly died between `start` and `end`. `to_services` were counted at
/// pod_out under another address, later than at `start` and not later than at `end`.
///
/// An answer to a service address has its server's address at overlay_in and the service's at
/// pod_in, where no peer owns it. So whatever nobody owns there may be this peer's.
pub(super) fn lost(start: &Moment, end: &Moment, slot: usize, to_services: u64) -> Losses {
    let came =
        |stage| count(&end.early, slot, stage).saturating_sub(count(&start.late, slot, stage));
    let went = |slot, stage| {
        count(&end.late, slot, stage).saturating_sub(count(&start.early, slot, stage))
    };
    let pair = |upstream, downstream| came(upstream).saturating_sub(went(slot, downstream));
    let translated = went(OTHER as usize, POD_IN);
    // What the node itself sent was never at pod_out; counted at its least, as losses are.
    let of_host = count(&end.early, slot, HOST).saturating_sub(count(&start.late, slot, HOST));
    let of_pods = went(slot, OVERLAY_OUT).saturating_sub(of_host);
    Losses {
        pod_to_overlay: (came(POD_OUT) + to_services).saturating_sub(of_pods),
        overlay_to_wire: pair(OVERLAY_OUT, WIRE_OUT),
        wire_to_overlay: pair(WIRE_IN, OVERLAY_IN),
        overlay_to_pod: pair(TO_POD, POD_IN).saturating_sub(translated),
        // Only flows tell.
        wire_to_peer: 0,
    }
}

fn count(reading: &Reading, slot: usize, stage: usize) -> u64 {
    reading.slots.get(slot).map_or(0, |slot| slot.packets[stage])
}

#[cfg(test)]
mod tests {
    use tracer_common::peer::FIRST_PEER;

    use super::*;
    use crate::kernel::SlotReading;

    const PEER: usize = FIRST_PEER as usize;

    fn reading(upstream: u64, downstream: u64) -> Reading {
        let mut slots = vec![SlotReading::default(); PEER + 1];
        slots[PEER].packets[OVERLAY_OUT] = upstream;
        slots[PEER].packets[WIRE_OUT] = downstream;
        Reading { slots, ..Reading::default() }
    }

    fn received(to_pods: u64, from_peer: u64, from_nobody: u64) -> Reading {
        let mut slots = vec![SlotReading::default(); PEER + 1];
        slots[PEER].packets[TO_POD] = to_pods;
        slots[PEER].packets[POD_IN] = from_peer;
        slots[OTHER as usize].packets[POD_IN] = from_nobody;
        Reading { slots, ..Reading::default() }
    }

    fn moment(early: (u64, u64), late: (u64, u64)) -> Moment {
        Moment { early: reading(early.0, early.1), late: reading(late.0, late.1) }
    }

    #[test]
    fn packets_in_flight_at_either_end_are_no_loss() {
        // 100 packets a step pass both stages; at each reading up to 40 are in between.
        let start = moment((140, 100), (240, 220));
        let end = moment((1040, 1000), (1140, 1130));
        assert_eq!(lost(&start, &end, PEER, 0).overlay_to_wire, 0);
    }

    #[test]
    fn what_never_arrives_is_a_loss() {
        let start = moment((10, 0), (10, 0));
        let end = moment((110, 0), (110, 0));
        assert_eq!(lost(&start, &end, PEER, 0).overlay_to_wire, 100);
    }

    #[test]
    fn answers_of_a_service_are_no_loss_though_another_address_arrives() {
        let start = Moment::default();
        let at = |reading: Reading| Moment { early: reading.clone(), late: reading };
        assert_eq!(lost(&start, &at(received(100, 60, 40)), PEER, 0).overlay_to_pod, 0);
        assert_eq!(lost(&start, &at(received(100, 60, 10)), PEER, 0).overlay_to_pod, 30);
    }

    #[test]
    fn a_slot_that_does_not_exist_has_lost_nothing() {
        assert_eq!(lost(&Moment::default(), &Moment::default(), 7, 0), Losses::default());
    }
}
