//! A flow, for tests to change.

use crate::evidence::{DropFlow, Flow, StageCounts};

/// A flow of this name that was there before the window, and nothing else about it.
pub(crate) const fn flow_of(name: DropFlow, packets: StageCounts) -> Flow {
    Flow {
        source: name.source,
        destination: name.destination,
        protocol: name.protocol,
        source_port: name.source_port,
        destination_port: name.destination_port,
        packets,
        leaked: 0,
        born_in_window: false,
        outer_source: None,
        translated_destination: None,
        translated_port: None,
        asked_as: None,
    }
}
