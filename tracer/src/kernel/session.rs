//! One observation: programs loaded and attached, until dropped.

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{LpmTrie, lpm_trie::Key},
    programs::{ProgramError, SchedClassifier},
};
use ipnet::IpNet;
use tracer_common::{address::Address, names, peer::FIRST_PEER};

use super::{
    AttachMode, FlowReading, Plan, Reading,
    attach::{Attacher, Attachment},
    flow_table::FlowEntries,
    log::{self, Logger},
    memlock,
    privileges::Privilege,
    reading,
    refusal::Refusal,
};
use crate::evidence::Hook;

/// What it takes to load and attach the programs.
const NEEDED: [Privilege; 2] = [Privilege::Bpf, Privilege::NetAdmin];

/// The object, built by build.rs.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flannel-tracer-ebpf"));

/// Loaded and attached programs. Dropping it detaches them and frees the maps.
pub struct Session {
    // Dropped in this order: first nothing calls the programs any more, then they go.
    _attachments: Vec<Attachment>,
    _attacher: Attacher,
    logger: Option<Logger>,
    ebpf: Ebpf,
    hooks: Vec<Hook>,
    peers: usize,
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
        memlock::raise();
        let entries = FlowEntries::fitting(&plan.config, possible_cpus());
        let mut ebpf = EbpfLoader::new()
            .override_global(names::CONFIG, &plan.config, true)
            .map_max_entries(names::FLOWS4, entries.v4)
            .map_max_entries(names::FLOWS6, entries.v6)
            .map_max_entries(names::PEERS, FIRST_PEER + plan.peers.len() as u32)
            .load(OBJECT)
            .map_err(load_error)?;
        let logger = log::start(&mut ebpf);
        fill_peer_slots(&mut ebpf, &plan.peers)?;
        let mut attacher = Attacher::new(mode);
        let mut attachments = Vec::new();
        let mut hooks = Vec::new();
        for planned in &plan.hooks {
            let program = load_program(&mut ebpf, planned.program)?;
            let (attached, because, foreign) = match attacher.attach(program, planned) {
                Ok(attachment) => {
                    let kind = attachment.kind().to_owned();
                    let foreign = attachment.foreign.clone();
                    attachments.push(attachment);
                    (true, kind, foreign)
                }
                Err(error) => (false, format!("{error:#}"), Vec::new()),
            };
            hooks.push(Hook {
                interface: planned.interface.clone(),
                ifindex: planned.ifindex,
                direction: planned.direction,
                attached,
                because,
                foreign,
            });
        }
        let peers = plan.peers.len();
        Ok(Self { _attachments: attachments, _attacher: attacher, logger, ebpf, hooks, peers })
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
        reading::read(&self.ebpf, self.peers)
    }

    /// The flow table now.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read_flows(&self) -> anyhow::Result<Vec<FlowReading>> {
        reading::read_flows(&self.ebpf)
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
        Err(error) => match Refusal::of_program(name, error, &NEEDED) {
            Ok(refusal) => Err(StartError::Refused(refusal)),
            Err(error) => Err(StartError::Other(error.into())),
        },
    }
}

fn fill_peer_slots(ebpf: &mut Ebpf, peers: &[IpNet]) -> anyhow::Result<()> {
    for (slot, peer) in (FIRST_PEER..).zip(peers) {
        match peer {
            IpNet::V4(cidr) => {
                fill_slot::<u32>(ebpf, names::PEER_SLOTS4, cidr.addr(), cidr.prefix_len(), slot)
            }
            IpNet::V6(cidr) => {
                let name = names::PEER_SLOTS6;
                fill_slot::<[u32; 4]>(ebpf, name, cidr.addr(), cidr.prefix_len(), slot)
            }
        }
        .with_context(|| format!("telling the programs of peer {peer}"))?;
    }
    Ok(())
}

fn fill_slot<A: Address + aya::Pod>(
    ebpf: &mut Ebpf,
    map: &str,
    address: A::Ip,
    prefix_length: u8,
    slot: u32,
) -> anyhow::Result<()> {
    let map = ebpf.map_mut(map).context("the object has no map of peers")?;
    let mut slots: LpmTrie<_, A, u32> = map.try_into()?;
    Ok(slots.insert(&Key::new(u32::from(prefix_length), A::of(address)), slot, 0)?)
}

fn load_error(error: EbpfError) -> StartError {
    match Refusal::of_object(error, &NEEDED) {
        Ok(refusal) => StartError::Refused(refusal),
        Err(error) => {
            StartError::Other(anyhow::Error::from(error).context("loading the eBPF object"))
        }
    }
}
