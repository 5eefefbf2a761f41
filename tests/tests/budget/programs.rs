//! The programs that run: the tracer's own, loaded by its own session, and the yardstick's.

use std::{
    cell::RefCell,
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, ProgramArray},
    programs::{SchedClassifier, TcAttachType},
};
use nix::sched::{CloneFlags, unshare};
use tracer::{
    evidence::HookDirection,
    kernel::{AttachMode, Plan, PlannedHook, Session, YARDSTICK},
};
use tracer_common::{
    config::{Config, Network},
    names,
};

/// The node's pod network and one pod.
pub(crate) const OWN_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);
/// A peer's pod.
pub(crate) const PEER_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 7);
/// Both nodes.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// The same of IPv6.
pub(crate) const OWN_POD6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 5);
pub(crate) const PEER_POD6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 2, 0, 0, 0, 7);
pub(crate) const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// The tunnel.
pub(crate) const PORT: u16 = 8472;
pub(crate) const VNI: u32 = 1;
const MTU: u16 = 1450;
/// The longest name that the kernel keeps (BPF_OBJ_NAME_LEN less its end).
const NAME: usize = 15;

/// Everything that is loaded.
pub(crate) struct Programs {
    /// Holds the tracer's programs; its counters say what went wrong.
    session: RefCell<Session>,
    stages: Vec<(&'static str, SchedClassifier)>,
    /// The same programs once more, which take a sample of every packet.
    sampling: RefCell<Session>,
    sampled: Vec<(&'static str, SchedClassifier)>,
    yardstick: RefCell<Yardstick>,
}

struct Yardstick {
    ebpf: Ebpf,
    /// Calls the program that stands in its array, with one flow after the other.
    measured: ProgramArray<aya::maps::MapData>,
}

/// The same as in the yardstick's source.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rotation {
    next: u32,
    flows: u32,
}

// SAFETY: two integers without padding.
unsafe impl Pod for Rotation {}

// === impl Programs ===

impl Programs {
    /// Loads everything, with the loopback device of a new network namespace as the only one.
    pub(crate) fn load() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
        let (session, stages) = attached(&plan(None)?)?;
        let (sampling, sampled) = attached(&plan(NonZeroU32::new(1))?)?;
        let mut ebpf = EbpfLoader::new().load(YARDSTICK)?;
        for name in ["empty", "minimal", "rotate"] {
            classifier(&mut ebpf, name)?.load()?;
        }
        let measured = ebpf.take_map("MEASURED").context("MEASURED")?.try_into()?;
        let yardstick = RefCell::new(Yardstick { ebpf, measured });
        let (session, sampling) = (RefCell::new(session), RefCell::new(sampling));
        Ok(Self { session, stages, sampling, sampled, yardstick })
    }

    /// Runs `work` with one of the programs, by name.
    pub(crate) fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&SchedClassifier) -> Result<T>,
    ) -> Result<T> {
        if let Some((_, program)) = self.stages.iter().find(|(stage, _)| *stage == name) {
            return work(program);
        }
        work(classifier(&mut self.yardstick.borrow_mut().ebpf, name)?)
    }

    /// Runs `work` with the program of a stage that takes a sample of every packet.
    pub(crate) fn with_sampling<T>(
        &self,
        name: &str,
        work: impl FnOnce(&SchedClassifier) -> Result<T>,
    ) -> Result<T> {
        let program = self.sampled.iter().find(|(stage, _)| *stage == name);
        work(&program.with_context(|| format!("no program {name}"))?.1)
    }

    /// Takes the samples out of the buffer and says how many there were.
    pub(crate) fn take_samples(&self) -> usize {
        self.sampling.borrow_mut().take_samples().len()
    }

    /// Makes `rotate` go through `flows` flows of the program `name`.
    pub(crate) fn rotate(&self, name: &str, flows: u32) -> Result<()> {
        let descriptor = self.with(name, |program| Ok(program.fd()?.try_clone()?))?;
        let mut yardstick = self.yardstick.borrow_mut();
        yardstick.measured.set(0, &descriptor, 0)?;
        let map = yardstick.ebpf.map_mut("ROTATION").context("ROTATION")?;
        let mut rotation: Array<_, Rotation> = map.try_into()?;
        // Where it stands is kept: a new flow must be new to every program.
        let next = rotation.get(&0, 0)?.next;
        rotation.set(0, Rotation { next, flows }, 0).context("ROTATION")
    }

    /// Packets that the stages have counted, all of them together.
    pub(crate) fn counted(&self) -> Result<u64> {
        let reading = self.session.borrow_mut().read()?;
        Ok(reading.slots.iter().flat_map(|slot| slot.packets).sum())
    }

    /// How often the flow table has refused an entry.
    pub(crate) fn refused(&self) -> Result<u64> {
        Ok(self.session.borrow_mut().read()?.flow_insert_failures)
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// A session and its programs. The newest stand first on the device.
fn attached(plan: &Plan) -> Result<(Session, Vec<(&'static str, SchedClassifier)>)> {
    let session = Session::start(plan, AttachMode::Tcx)?;
    for hook in session.hooks() {
        anyhow::ensure!(hook.attached, "{}", hook.because);
    }
    let programs = names::PROGRAMS.into_iter().map(|name| Ok((name, on_loopback(name)?)));
    let programs = programs.collect::<Result<_>>()?;
    Ok((session, programs))
}

/// A node with one peer, every program on one side of the loopback device.
fn plan(sample: Option<NonZeroU32>) -> Result<Plan> {
    let network =
        |address: Ipv4Addr, length| Network::new(address, length).context("a prefix length");
    let network6 =
        |address: Ipv6Addr, length| Network::new(address, length).context("a prefix length");
    let mut config = Config::NONE;
    config.set_dns_timeout(2_000);
    config.v4.set_tunnel(VNI, PORT, MTU);
    config.v4.add_pod_network(network(OWN_POD, 16)?);
    config.v4.add_own_pods(network(OWN_POD, 24)?);
    config.v4.add_node_address(NODE);
    config.v4.add_tunnel_end(NODE);
    config.v6.set_tunnel(VNI, PORT, MTU);
    config.v6.add_pod_network(network6(OWN_POD6, 48)?);
    config.v6.add_own_pods(network6(OWN_POD6, 64)?);
    config.v6.add_node_address(NODE6);
    config.v6.add_tunnel_end(NODE6);
    let hook = |program| PlannedHook {
        interface: "lo".to_owned(),
        ifindex: 1,
        direction: HookDirection::Ingress,
        program,
    };
    Ok(Plan {
        config,
        peers: vec!["10.244.2.0/24".parse()?, "fd00:10:244:2::/64".parse()?],
        own: vec!["10.244.1.0/24".parse()?, "fd00:10:244:1::/64".parse()?],
        hooks: names::PROGRAMS.into_iter().map(hook).collect(),
        sample,
        unseen: Vec::new(),
    })
}

/// The program of this name among those on the loopback device: by its name alone it might be one
/// of another tracer on this machine.
fn on_loopback(name: &'static str) -> Result<SchedClassifier> {
    let known = &name.as_bytes()[..name.len().min(NAME)];
    let (_, infos) = SchedClassifier::query_tcx("lo", TcAttachType::Ingress)?;
    let info = infos.into_iter().find(|info| info.name() == known);
    let info = info.with_context(|| format!("{name} is not attached"))?;
    Ok(SchedClassifier::from_program_info(info, name.into())?)
}
