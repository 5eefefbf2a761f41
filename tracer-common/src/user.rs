//! Userspace only: what lets aya copy the shared types in and out of maps.

use aya::Pod;

use crate::{
    config::Config,
    dns::{DnsCount, DnsKey, DnsSlot},
    drop::{DropFlowKey, DropFlowValue, DropSlot, Layout},
    flow::{FlowKey, FlowValue},
    peer::PeerValue,
    sample::{SampleCounts, SampleRecord},
    sight::SightKey,
    vip::{Announced, Owner, VipCounts},
};

// SAFETY: by the ABI rule each of these is repr(C), made of integers and byte arrays, without
// implicit padding (sizes are asserted beside the types), so every bit pattern is a valid value.
unsafe impl Pod for Config {}
// SAFETY: as above.
unsafe impl Pod for FlowKey<u32> {}
// SAFETY: as above.
unsafe impl Pod for FlowKey<[u32; 4]> {}
// SAFETY: as above.
unsafe impl Pod for FlowValue<u32> {}
// SAFETY: as above.
unsafe impl Pod for FlowValue<[u32; 4]> {}
// SAFETY: as above.
unsafe impl Pod for PeerValue {}
// SAFETY: as above.
unsafe impl Pod for DropFlowKey<u32> {}
// SAFETY: as above.
unsafe impl Pod for DropFlowKey<[u32; 4]> {}
// SAFETY: as above.
unsafe impl Pod for DropFlowValue {}
// SAFETY: as above.
unsafe impl Pod for DropSlot {}
// SAFETY: as above.
unsafe impl Pod for Layout {}
// SAFETY: as above.
unsafe impl Pod for SightKey {}
// SAFETY: as above.
unsafe impl Pod for VipCounts {}
// SAFETY: as above.
unsafe impl Pod for Owner {}
// SAFETY: as above.
unsafe impl Pod for Announced {}
// SAFETY: as above.
unsafe impl Pod for DnsCount {}
// SAFETY: as above.
unsafe impl Pod for DnsKey {}
// SAFETY: as above.
unsafe impl Pod for DnsSlot {}
// SAFETY: as above.
unsafe impl Pod for SampleCounts {}
// SAFETY: as above.
unsafe impl Pod for SampleRecord {}
