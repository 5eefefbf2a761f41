//! The objects that this binary holds, for whoever wants to load them otherwise than [`super`] does:
//! the suite that holds the programs to what the verifier may take for them.

use std::net::{Ipv4Addr, Ipv6Addr};

use aya::Pod;
use tracer_common::{
    address::Address,
    config::{Config, Family, NETWORKS, NODE_ADDRESSES, Network},
    names,
};

use super::{changes, drops, samples::has_coarse_clock, session, vips};
use crate::process;

/// An eBPF object.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is for.
    pub name: &'static str,
    /// The ELF file, aligned to eight bytes.
    pub bytes: &'static [u8],
    /// Names and values of the read-only globals with which no branch of a program falls away.
    pub globals: Vec<(&'static str, Vec<u8>)>,
    /// The kernel's tracepoint or function that its tracing programs hang on.
    pub hook: Option<&'static str>,
}

/// Every object.
#[must_use]
pub fn objects() -> Vec<Object> {
    let coarse = has_coarse_clock(&process::kernel_release());
    let stages = Object {
        name: "stages",
        bytes: session::OBJECT,
        globals: vec![
            (names::CONFIG, bytes_of(&fullest_config())),
            (names::LOOKING, bytes_of(&1_u32)),
            (names::SAMPLE_EVERY, bytes_of(&1000_u32)),
            (names::COARSE_CLOCK, bytes_of(&u32::from(coarse))),
        ],
        hook: None,
    };
    let drops = Object {
        name: "drops",
        bytes: drops::OBJECT,
        // Without the kernel's types neither program can be loaded, whatever it is told.
        globals: drops::any_layout()
            .map(|layout| (names::DROP_LAYOUT, bytes_of(&layout)))
            .into_iter()
            .chain([(names::CONFIG, bytes_of(&fullest_config()))])
            .collect(),
        hook: Some(names::KFREE_SKB),
    };
    let changes = Object {
        name: "changes",
        bytes: changes::OBJECT,
        globals: Vec::new(),
        hook: Some(changes::FUNCTION),
    };
    let vips = Object { name: "vips", bytes: vips::OBJECT, globals: Vec::new(), hook: None };
    vec![stages, drops, changes, vips]
}

/// Both IP versions, every place taken.
fn fullest_config() -> Config {
    let mut config = Config::NONE;
    config.set_dns_timeout(2_000);
    fill(&mut config.v4, |number| Ipv4Addr::new(10, number, 0, 1), 16);
    fill(&mut config.v6, |number| Ipv6Addr::new(0xfd00, number.into(), 0, 0, 0, 0, 0, 1), 32);
    config
}

fn fill<A: Address>(family: &mut Family<A>, address: impl Fn(u8) -> A::Ip, prefix_length: u8) {
    family.set_tunnel(1, 8472, 1430);
    family.set_device([2, 0, 0, 0, 0, 1], true);
    for number in 0..NETWORKS as u8 {
        if let Some(network) = Network::new(address(number), prefix_length) {
            family.add_pod_network(network);
            family.add_own_pods(network);
        }
    }
    for number in 0..NODE_ADDRESSES as u8 {
        family.add_node_address(address(number));
        family.add_tunnel_end(address(number));
    }
}

fn bytes_of<T: Pod>(value: &T) -> Vec<u8> {
    let start = std::ptr::from_ref(value).cast();
    // SAFETY: the value lives until the bytes are copied, and a `Pod` has no padding.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_full<A: Address>(mut family: Family<A>, address: A::Ip)
    where
        A::Ip: Copy,
    {
        let network = Network::new(address, 24).unwrap();
        assert!(!family.add_pod_network(network));
        assert!(!family.add_own_pods(network));
        assert!(!family.add_node_address(address));
        assert!(!family.add_tunnel_end(address));
    }

    #[test]
    fn the_fullest_config_has_room_for_nothing_more() {
        let config = fullest_config();
        assert_full(config.v4, Ipv4Addr::new(192, 0, 2, 9));
        assert_full(config.v6, Ipv6Addr::LOCALHOST);
        assert!(config.v4.is_used() && config.v6.is_used());
    }
}
