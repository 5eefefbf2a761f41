//! Which peer has which slot of the exact totals.

use std::net::IpAddr;

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{LpmTrie, MapData, MapError, PerCpuHashMap, lpm_trie::Key},
};
use ipnet::IpNet;
use tracer_common::{
    address::Address,
    flow::{FLOWS, FlowKey, FlowValue},
    names,
    peer::FIRST_PEER,
};

/// The peers by slot. A peer that has left keeps its slot: flows in the table still name it.
pub(super) struct Slots {
    peers: Vec<IpNet>,
    room: usize,
    forgotten: u64,
}

impl Slots {
    /// No peers yet, and slots for `room`.
    pub(super) const fn new(room: usize) -> Self {
        Self { peers: Vec::new(), room, forgotten: 0 }
    }

    /// Pod CIDRs in the order of their slots, the first at [`FIRST_PEER`].
    pub(super) fn peers(&self) -> &[IpNet] {
        &self.peers
    }

    /// Slots, taken and free.
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Flows that were taken out of the tables, and were not evicted.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Whether all of `peers` have a slot or find a free one.
    pub(super) fn have_room_for(&self, peers: &[IpNet]) -> bool {
        self.peers.len() + self.new_among(peers).len() <= self.room
    }

    /// Gives each new peer a slot while there are free ones. False when none got one.
    pub(super) fn add(&mut self, ebpf: &mut Ebpf, peers: &[IpNet]) -> anyhow::Result<bool> {
        let mut new = self.new_among(peers);
        new.truncate(self.room - self.peers.len());
        for peer in &new {
            let slot = FIRST_PEER + self.peers.len() as u32;
            assign(ebpf, *peer, slot).with_context(|| format!("telling the programs of {peer}"))?;
            self.peers.push(*peer);
        }
        if !new.is_empty() {
            let v4 = forget_flows::<u32>(ebpf, names::FLOWS4, &new);
            let v6 = forget_flows::<[u32; 4]>(ebpf, names::FLOWS6, &new);
            self.forgotten +=
                v4.context("flows of new peers")? + v6.context("flows of new peers")?;
        }
        Ok(!new.is_empty())
    }

    fn new_among(&self, peers: &[IpNet]) -> Vec<IpNet> {
        peers.iter().filter(|peer| !self.peers.contains(peer)).copied().collect()
    }
}

fn assign(ebpf: &mut Ebpf, peer: IpNet, slot: u32) -> anyhow::Result<()> {
    match peer {
        IpNet::V4(cidr) => {
            assign_in::<u32>(ebpf, names::PEER_SLOTS4, cidr.addr(), cidr.prefix_len(), slot)
        }
        IpNet::V6(cidr) => {
            assign_in::<[u32; 4]>(ebpf, names::PEER_SLOTS6, cidr.addr(), cidr.prefix_len(), slot)
        }
    }
}

fn assign_in<A: Address + aya::Pod>(
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

/// Takes the flows of `peers` out of a table and says how many: an entry remembers its peer's
/// slot, and these were counted as nobody's.
fn forget_flows<A>(ebpf: &mut Ebpf, name: &str, peers: &[IpNet]) -> anyhow::Result<u64>
where
    A: Address<Ip: Into<IpAddr>>,
    FlowKey<A>: aya::Pod,
    FlowValue<A>: aya::Pod,
{
    let map = ebpf.map_mut(name).context("the object has no flow table")?;
    let mut flows: PerCpuHashMap<&mut MapData, FlowKey<A>, FlowValue<A>> = map.try_into()?;
    let is_of = |address: A| {
        let address: IpAddr = address.ip().into();
        peers.iter().any(|peer| peer.contains(&address))
    };
    let mut theirs = Vec::new();
    for key in flows.keys().take(2 * FLOWS as usize) {
        match key {
            Ok(key) if is_of(key.source()) || is_of(key.destination()) => theirs.push(key),
            Ok(_) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("walking the flow table"),
        }
    }
    let mut forgotten = 0;
    for key in &theirs {
        match flows.remove(key) {
            Ok(()) => forgotten += 1,
            // Evicted meanwhile.
            Err(error) if is_not_there(&error) => {}
            Err(error) => return Err(error).context("taking a flow out of the table"),
        }
    }
    Ok(forgotten)
}

fn is_not_there(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(call) => call.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
