//! Who answers for VIPs: a program on each side of the devices on which they may be.
//!
//! An object of its own, which attaches beside the stages: where it is refused, they go on.

mod places;
mod reading;

use std::net::IpAddr;

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, SchedClassifier},
};
use tracer_common::{
    names,
    vip::{self, VipCounts},
};

pub use self::reading::{AnnouncedReading, AnnouncerReading, ClientReading, VipReading, VipTable};
use super::{
    AttachMode, PlannedHook, memlock, places::Places, privileges::Privilege, refusal::Refusal,
    session::possible_cpus,
};
use crate::evidence::Hook;

/// What it takes to load and attach the programs.
const NEEDED: [Privilege; 2] = [Privilege::Bpf, Privilege::NetAdmin];

/// Memory for the counts of all CPUs together, in bytes; with fewer than sixteen CPUs all VIPs that
/// may ever be counted find room.
const MEMORY: usize = 8 << 20;
/// VIPs that are counted on the largest machine.
const FEWEST: u32 = 16;

/// The object, built by build.rs.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flannel-tracer-vips"));

/// What to count, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VipPlan {
    /// The VIPs.
    pub vips: Vec<IpAddr>,
    /// Where programs go: [`names::VIP_IN`] and [`names::VIP_OUT`].
    pub hooks: Vec<PlannedHook>,
}

/// Loaded and attached programs. To be dropped before the session of the stages: that removes what it
/// has put on a device only when nothing else is left there.
pub struct VipSession {
    // Dropped in this order: first nothing calls the programs any more, then they go.
    places: Places,
    ebpf: Ebpf,
    /// By number; a place that was given up waits for another.
    vips: Vec<Option<IpAddr>>,
    room: usize,
    without_room: usize,
}

// === impl VipSession ===

impl VipSession {
    /// Loads the programs and attaches what the plan says. A hook that cannot be attached is no
    /// error: [`VipSession::hooks`] says why.
    ///
    /// # Errors
    /// When the programs cannot be loaded.
    pub fn start(plan: &VipPlan, mode: AttachMode) -> anyhow::Result<Self> {
        memlock::raise();
        let room = room(possible_cpus());
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::VIP_COUNTS, room)
            .load(OBJECT)
            .map_err(|error| match Refusal::of_object(error, &NEEDED) {
                Ok(refusal) => refusal.into(),
                Err(error) => anyhow::Error::from(error).context("loading the eBPF object"),
            })?;
        for name in [names::VIP_IN, names::VIP_OUT] {
            load(&mut ebpf, name)?;
        }
        let (places, room) = (Places::new(mode), room as usize);
        let mut session = Self { places, ebpf, vips: Vec::new(), room, without_room: 0 };
        session.update(plan)?;
        Ok(session)
    }

    /// Follows the plan: counts new VIPs too and no longer those that are not in it, attaches and
    /// detaches.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn update(&mut self, plan: &VipPlan) -> anyhow::Result<()> {
        self.follow(&plan.vips)?;
        self.places.follow(&plan.hooks, &mut self.ebpf, program)?;
        Ok(())
    }

    /// The VIPs that are counted.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        self.vips.iter().flatten().copied().collect()
    }

    /// Where programs were to be attached, and whether they are.
    #[must_use]
    pub fn hooks(&self) -> Vec<Hook> {
        self.places.hooks()
    }

    /// What has been counted since the start.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(&mut self) -> anyhow::Result<VipTable> {
        let without_room = self.without_room as u64;
        reading::read(&mut self.ebpf, &self.vips, without_room)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> anyhow::Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    program.try_into().context("the object's program has another type")
}

fn load(ebpf: &mut Ebpf, name: &'static str) -> anyhow::Result<()> {
    match program(ebpf, name)?.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(match Refusal::of_program(name, error, &NEEDED) {
            Ok(refusal) => refusal.into(),
            Err(error) => error.into(),
        }),
    }
}

/// VIPs whose counts fit, on so many CPUs.
fn room(cpus: u32) -> u32 {
    let fit = MEMORY / size_of::<VipCounts>() / cpus.max(1) as usize;
    (fit as u32).clamp(FEWEST, vip::VIPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_many_cpus_fit_into_the_memory_for_them() {
        assert_eq!(room(1), vip::VIPS);
        assert_eq!(room(16), vip::VIPS);
        for cpus in [32, 64, 128] {
            assert!(room(cpus) as usize * size_of::<VipCounts>() * cpus as usize <= MEMORY);
        }
        assert_eq!(room(100_000), FEWEST);
    }
}
