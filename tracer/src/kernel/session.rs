//! One observation: programs loaded and attached, until dropped.

mod sampling;
mod slots;

use std::num::NonZeroU32;

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{ProgramError, SchedClassifier},
};
use ipnet::IpNet;
use tracer_common::{
    config::Config,
    names,
    peer::{FIRST_PEER, SLOTS},
    sample::{RING_BYTES, SIGHT_TICKETS},
    sight::{POD_SIGHTS, SIGHTS},
};

use self::slots::Slots;
use super::{
    AttachMode, FlowName, FlowReading, Plan, Reading,
    clock::monotonic_nanoseconds,
    dns::{self, DnsReading},
    flow_table::FlowEntries,
    log::{self, Logger},
    memlock,
    places::Places,
    privileges::Privilege,
    reading,
    refusal::{Refusal, asks_for_perfmon},
    samples::{Sample, Samples, has_coarse_clock},
    sights::{self, Aging},
};
use crate::{evidence::Hook, process};

/// What it takes to load and attach the programs, and what older kernels ask for beside.
const NEEDED: [Privilege; 3] = [Privilege::Bpf, Privilege::NetAdmin, Privilege::Perfmon];

/// The object, built by build.rs.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flannel-tracer-ebpf"));

/// Loaded and attached programs. Dropping it detaches them and frees the maps.
pub struct Session {
    // Dropped in this order: first nothing calls the programs any more, then they go.
    places: Places,
    logger: Option<Logger>,
    ebpf: Ebpf,
    hooks: Vec<Hook>,
    slots: Slots,
    config: Config,
    /// Whether the programs are loaded that others call at uplinks without an Ethernet header.
    has_layer3: bool,
    /// Why rare packets are not looked at, if they are not.
    blind: Option<String>,
    /// Why DNS is not paired, if it is not.
    blind_to_dns: Option<String>,
    aging: Aging,
    /// When the hooks became those that they are, by the clock of bpf_ktime_get_ns.
    hooked_at: u64,
    /// Sights in the tables when they were read last.
    sights: usize,
    /// `None` where none are taken.
    samples: Option<Samples>,
    /// Why none are, though they were asked for.
    unsampled: Option<String>,
}

/// What a session has seen to its end.
#[derive(Debug)]
pub struct Last {
    /// The exact totals.
    pub totals: Reading,
    /// What has become of DNS queries; `None` where they are not paired.
    pub dns: Option<DnsReading>,
    /// Samples since they were taken last.
    pub samples: Vec<Sample>,
}

/// Why the stages cannot be observed at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel refuses bpf(2).
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Session {
    /// Loads the object and attaches what `plan` says. A hook that cannot be attached is no
    /// error: [`Session::hooks`] says why.
    ///
    /// # Errors
    /// When no program can be loaded.
    pub fn start(plan: &Plan, mode: AttachMode) -> Result<Self, StartError> {
        Self::start_with_room(plan, mode, 0)
    }

    /// As [`Session::start`], with slots for `more` peers than the plan has, to be given out by
    /// [`Session::update`].
    ///
    /// # Errors
    /// When no program can be loaded.
    pub fn start_with_room(plan: &Plan, mode: AttachMode, more: u32) -> Result<Self, StartError> {
        memlock::raise();
        let sample = match plan.sample {
            None => return Self::start_unsampled(plan, mode, more),
            Some(sample) => sample,
        };
        match Self::start_with(plan, mode, more, None, Some(sample)) {
            Ok(session) => Ok(session),
            // What is refused for another reason is refused again.
            Err(error) => {
                tracing::warn!("no packets are sampled: {error}");
                let mut session = Self::start_unsampled(plan, mode, more)?;
                session.unsampled = Some(error.to_string());
                Ok(session)
            }
        }
    }

    fn start_unsampled(plan: &Plan, mode: AttachMode, more: u32) -> Result<Self, StartError> {
        match Self::start_with(plan, mode, more, None, None) {
            Ok(session) => Ok(session),
            // Some kernels take no calls from one program into another where a program has functions
            // of its own (kernel/bpf/verifier.c: without JIT; on arm64 before 6.0). What is refused
            // for another reason is refused again, in the words for it.
            Err(error) => {
                tracing::warn!("rare packets are not looked at: {error}");
                Self::start_with(plan, mode, more, Some(error.to_string()), None)
            }
        }
    }

    /// What rare packets show, when they cannot be looked at: a line for what is unseen.
    #[must_use]
    pub fn blind_to_rare(&self) -> Option<String> {
        let line = "rare packets that tell a fault by themselves (ICMP errors, another VNI): the \
                    programs that look at them could not be loaded";
        self.blind.as_ref().map(|because| format!("{line}: {because}"))
    }

    /// Why DNS queries are not paired with their answers, if they are not: a line for what is unseen.
    #[must_use]
    pub fn blind_to_dns(&self) -> Option<String> {
        let because = self.blind_to_dns.as_ref()?;
        Some(format!(
            "DNS: the programs that pair queries with answers could not be loaded: {because}"
        ))
    }

    fn start_with(
        plan: &Plan,
        mode: AttachMode,
        more: u32,
        blind: Option<String>,
        sample: Option<NonZeroU32>,
    ) -> Result<Self, StartError> {
        let flows = FlowEntries::fitting(&plan.config, possible_cpus());
        let entries = (FIRST_PEER + plan.peers.len() as u32 + more).min(SLOTS);
        let mut config = plan.config;
        if blind.is_some() {
            config.set_dns_timeout(0);
        }
        let coarse = has_coarse_clock(&process::kernel_release());
        let mut ebpf = EbpfLoader::new()
            .override_global(names::CONFIG, &config, true)
            .override_global(names::LOOKING, &u32::from(blind.is_none()), true)
            .map_max_entries(names::FLOWS4, flows.v4)
            .map_max_entries(names::FLOWS6, flows.v6)
            .map_max_entries(names::PEERS, entries)
            .override_global(names::SAMPLE_EVERY, &sample.map_or(0, NonZeroU32::get), true)
            .override_global(names::COARSE_CLOCK, &u32::from(coarse), true)
            .map_max_entries(names::SAMPLES, if sample.is_some() { RING_BYTES } else { 1 })
            .map_max_entries(names::SIGHT_TICKETS, if sample.is_some() { SIGHT_TICKETS } else { 1 })
            .load(OBJECT)
            .map_err(load_error)?;
        let logger = log::start(&mut ebpf);
        if blind.is_none() {
            sights::load(&mut ebpf, plan.has_layer3())?;
        }
        let blind_to_dns = match &blind {
            Some(because) => Some(because.clone()),
            None => dns::load(&mut ebpf, plan.has_layer3()).err().map(|error| format!("{error:#}")),
        };
        let samples = sample.map(|every| Samples::start(&mut ebpf, every)).transpose()?;
        let mut session = Self {
            places: Places::new(mode),
            logger,
            ebpf,
            hooks: Vec::new(),
            slots: Slots::new((entries - FIRST_PEER) as usize),
            config: plan.config,
            has_layer3: plan.has_layer3(),
            blind,
            blind_to_dns,
            aging: Aging::default(),
            hooked_at: 0,
            sights: 0,
            samples,
            unsampled: None,
        };
        session.update(plan)?;
        Ok(session)
    }

    /// Whether [`Session::update`] can follow this plan in all: the programs' configuration is
    /// frozen, and so are the number of slots and the programs that others call.
    #[must_use]
    pub fn fits(&self, plan: &Plan) -> bool {
        self.config == plan.config
            && self.slots.have_room_for(&plan.peers)
            && (self.has_layer3 || !plan.has_layer3())
    }

    /// Follows the node: detaches from what is no longer planned, attaches to what is new or was
    /// refused before, and gives new peers a slot; the maps go on counting. True when the hooks
    /// or the peers are others now, so that counts of before and after are not to be compared.
    ///
    /// # Errors
    /// When a program cannot be loaded or a map not be written.
    pub fn update(&mut self, plan: &Plan) -> Result<bool, StartError> {
        let has_new_peers = self.slots.add(&mut self.ebpf, &plan.peers)?;
        let has_other_hooks = self.places.follow(&plan.hooks, &mut self.ebpf, load_program)?;
        self.hooks = self.places.hooks();
        if has_other_hooks {
            self.hooked_at = monotonic_nanoseconds()?;
        }
        Ok(has_new_peers || has_other_hooks)
    }

    /// Pod CIDRs of the peers in the order of their slots, former peers among them.
    #[must_use]
    pub fn peers(&self) -> &[IpNet] {
        self.slots.peers()
    }

    /// What the programs were told of the node.
    #[must_use]
    pub const fn config(&self) -> Config {
        self.config
    }

    /// Slots for peers, taken and free.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.slots.room()
    }

    /// Detaches everything and reads all once more: nothing is counted or taken after that.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn finish(mut self) -> anyhow::Result<Last> {
        self.places.clear();
        Ok(Last { totals: self.read()?, dns: self.read_dns()?, samples: self.take_samples() })
    }

    /// Flows that fit into the tables.
    #[must_use]
    pub fn flow_capacity(&self) -> u32 {
        let entries = FlowEntries::fitting(&self.config, possible_cpus());
        entries.v4 + entries.v6
    }

    /// Where programs were to be attached, and whether they are.
    #[must_use]
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// The exact totals now.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(&mut self) -> anyhow::Result<Reading> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let mut reading = reading::read(&self.ebpf, self.slots.peers().len(), &self.hooks)?;
        reading.flow_inserts = reading.flow_inserts.saturating_sub(self.slots.forgotten());
        self.sights = reading.sights.len();
        Ok(reading)
    }

    /// Sights of what is rare that the tables hold, as far as their devices have hooks, when they were
    /// read last; and how many fit.
    #[must_use]
    pub fn sights(&self) -> (u64, u64) {
        (self.sights as u64, u64::from(SIGHTS + POD_SIGHTS))
    }

    /// Makes room for new sights of what is rare, where there is little left: those that have not been
    /// had again since the last call are forgotten.
    ///
    /// # Errors
    /// When a map cannot be read or changed.
    pub fn forget_idle_sights(&mut self) -> anyhow::Result<()> {
        self.aging.forget_idle(&mut self.ebpf)
    }

    /// What has become of DNS queries; `None` where they are not paired.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read_dns(&self) -> anyhow::Result<Option<DnsReading>> {
        let timeout = self.config.dns_timeout();
        self.pairs_dns().then(|| dns::read(&self.ebpf, timeout, self.hooked_at)).transpose()
    }

    /// Whether DNS queries are paired with their answers.
    #[must_use]
    pub fn pairs_dns(&self) -> bool {
        self.config.dns_timeout() != 0 && self.blind_to_dns.is_none()
    }

    /// The flow table now.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read_flows(&self) -> anyhow::Result<Vec<FlowReading>> {
        reading::read_flows(&self.ebpf)
    }

    /// Few flows of the table now; those that are not in it are left out.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read_flows_of(&self, flows: &[FlowName]) -> anyhow::Result<Vec<FlowReading>> {
        reading::read_flows_of(&self.ebpf, flows)
    }
}

/// CPUs that per-CPU maps have values for, present or not.
pub(super) fn possible_cpus() -> u32 {
    aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1)
}

/// A program of the object, loaded on first use: several devices may share it.
fn load_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, StartError> {
    let program: &mut SchedClassifier = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?
        .try_into()
        .context("the object's program has another type")?;
    match program.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
        Err(error) => match Refusal::of_program(name, error, needed()) {
            Ok(refusal) => Err(StartError::Refused(refusal)),
            Err(error) => Err(StartError::Other(error.into())),
        },
    }
}

/// What it takes to load and attach the programs on this kernel.
fn needed() -> &'static [Privilege] {
    if asks_for_perfmon(&process::kernel_release()) { &NEEDED } else { &NEEDED[..2] }
}

fn load_error(error: EbpfError) -> StartError {
    match Refusal::of_object(error, needed()) {
        Ok(refusal) => StartError::Refused(refusal),
        Err(error) => {
            StartError::Other(anyhow::Error::from(error).context("loading the eBPF object"))
        }
    }
}
