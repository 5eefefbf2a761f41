//! One observation: programs loaded and attached, until dropped.

use std::io;

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{LpmTrie, MapError, lpm_trie::Key},
    programs::{ProgramError, SchedClassifier},
};
use ipnet::IpNet;
use tracer_common::{
    flow::{FLOWS, FlowValue},
    names,
    peer::FIRST_PEER,
};

use super::{
    AttachMode, FlowReading, Plan, Reading,
    attach::{Attacher, Attachment},
    log::{self, Logger},
    reading,
};
use crate::evidence::Hook;

/// Bytes that the flow table may take of the kernel's memory.
const FLOW_MEMORY: u32 = 48 << 20;
/// Bytes of an entry beside its values: key, hash element, list node (kernel/bpf/hashtab.c).
const ENTRY_OVERHEAD: u32 = 88;

/// The object, built by build.rs.
static OBJECT: &[u8] =
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
    #[error(
        "the kernel does not let this process load eBPF programs ({0}): run as root, or with the \
         capabilities BPF and NET_ADMIN (in Kubernetes: kubectl debug --profile=sysadmin)"
    )]
    Privileges(io::Error),
    /// The verifier refuses a program, which is our fault.
    #[error("the kernel refuses program {program}; please report this with the log below\n{log}")]
    Verifier {
        /// Program of the object.
        program: &'static str,
        /// The verifier's own words, the last lines first to be read.
        log: String,
    },
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
        let mut ebpf = EbpfLoader::new()
            .override_global(names::CONFIG, &plan.config, true)
            .map_max_entries(names::FLOWS4, flow_entries(possible_cpus()))
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
fn possible_cpus() -> u32 {
    aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1)
}

/// Entries of the flow table such that it stays below [`FLOW_MEMORY`] on any number of CPUs.
fn flow_entries(cpus: u32) -> u32 {
    let value = size_of::<FlowValue>() as u32;
    (FLOW_MEMORY / (ENTRY_OVERHEAD + cpus * value)).min(FLOWS)
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
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            if is_refusal(&io_error) && verifier_log.to_string().is_empty() {
                return Err(StartError::Privileges(io_error));
            }
            Err(StartError::Verifier { program: name, log: format!("{io_error}\n{verifier_log}") })
        }
        Err(error) => Err(StartError::Other(error.into())),
    }
}

fn fill_peer_slots(ebpf: &mut Ebpf, peers: &[IpNet]) -> anyhow::Result<()> {
    let map = ebpf.map_mut(names::PEER_SLOTS4).context("the object has no map of peers")?;
    let mut slots: LpmTrie<_, u32, u32> = map.try_into()?;
    for (index, peer) in peers.iter().enumerate() {
        let IpNet::V4(cidr) = peer else { continue };
        let key = Key::new(u32::from(cidr.prefix_len()), u32::from_ne_bytes(cidr.addr().octets()));
        slots
            .insert(&key, FIRST_PEER + index as u32, 0)
            .with_context(|| format!("telling the programs of peer {cidr}"))?;
    }
    Ok(())
}

fn load_error(error: EbpfError) -> StartError {
    let refused = match &error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => is_refusal(io_error),
        EbpfError::MapError(MapError::SyscallError(call)) => is_refusal(&call.io_error),
        _ => false,
    };
    if refused {
        return StartError::Privileges(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    StartError::Other(anyhow::Error::from(error).context("loading the eBPF object"))
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_table_stays_within_its_memory_on_any_number_of_cpus() {
        assert_eq!(flow_entries(4), FLOWS);
        for cpus in [8, 64, 256, 1024] {
            let bytes = flow_entries(cpus) * (ENTRY_OVERHEAD + cpus * 40);
            assert!(bytes <= FLOW_MEMORY, "{cpus} CPUs: {bytes}");
            assert!(flow_entries(cpus) > 1000, "{cpus} CPUs");
        }
    }
}
