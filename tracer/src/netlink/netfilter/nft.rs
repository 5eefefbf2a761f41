//! Names of nftables' tables and chains, among them those of iptables-nft.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    sync::OnceLock,
};

use anyhow::Context;
use netlink_packet_core::Emitable;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{
    attributes::{find, text},
    socket::Socket,
};

// include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;

#[derive(Default)]
pub(super) struct Names {
    /// Family (`ip`, `ip6`, `inet`, …) and name.
    pub(super) tables: Vec<(&'static str, String)>,
    /// Family of the table, and name.
    pub(super) chains: Vec<(&'static str, String)>,
}

/// The names of all tables and chains; none when the kernel has no nftables now.
pub(super) fn names() -> anyhow::Result<Names> {
    if !is_loaded() {
        return Ok(Names::default());
    }
    let mut socket = Socket::open(NETLINK_NETFILTER)?;
    let mut dump = |message: u16, attribute: u16| -> anyhow::Result<_> {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | message;
        let request = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
        let messages = socket.dump(kind, &request).context("cannot list nftables")?;
        let named = messages.into_iter().filter_map(move |message| named(&message.body, attribute));
        Ok(named.collect::<Vec<_>>())
    };
    let tables = dump(NFT_MSG_GETTABLE, NFTA_TABLE_NAME)?;
    let chains = dump(NFT_MSG_GETCHAIN, NFTA_CHAIN_NAME)?;
    Ok(Names { tables, chains })
}

/// Whether nftables is there already: a request by netlink would load its module
/// (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg, 6.18).
fn is_loaded() -> bool {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    if modules.lines().any(|line| line.starts_with("nf_tables ")) {
        return true;
    }
    // Built in: then only its symbols tell, and for as long as the kernel runs.
    static BUILT_IN: OnceLock<bool> = OnceLock::new();
    if let Some(known) = BUILT_IN.get() {
        return *known;
    }
    let Ok(symbols) = File::open("/proc/kallsyms") else { return false };
    *BUILT_IN.get_or_init(|| {
        let mut lines = BufReader::new(symbols).lines().map_while(Result::ok);
        lines.any(|line| line.ends_with(" nft_do_chain"))
    })
}

/// Family and name of the table or chain in a message.
fn named(body: &[u8], attribute: u16) -> Option<(&'static str, String)> {
    let header = NetfilterHeader::parse(body).ok()?;
    let name = find(body.get(header.buffer_len()..)?, attribute).map(text)?;
    Some((family(header.family), name))
}

/// The family as nft(8) writes it.
const fn family(family: NetfilterProtoFamily) -> &'static str {
    match family {
        NetfilterProtoFamily::IPv4 => "ip",
        NetfilterProtoFamily::IPv6 => "ip6",
        NetfilterProtoFamily::Inet => "inet",
        NetfilterProtoFamily::ARP => "arp",
        NetfilterProtoFamily::Bridge => "bridge",
        NetfilterProtoFamily::NetDev => "netdev",
        _ => "other",
    }
}
