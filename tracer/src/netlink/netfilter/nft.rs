//! Names of nftables' tables and chains, among them those of iptables-nft, and the rules of some.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    sync::OnceLock,
};

use anyhow::Context;
use netlink_packet_core::{DefaultNla, Emitable, NlasIterator};
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
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_USERDATA: u16 = 6;

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

/// A request for what is in one place.
struct In {
    family: NetfilterProtoFamily,
    /// Strings by the numbers of their attributes.
    names: Vec<(u16, String)>,
}

impl Emitable for In {
    fn buffer_len(&self) -> usize {
        self.attributes().len() + NetfilterHeader::new(self.family, 0, 0).buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let header = NetfilterHeader::new(self.family, 0, 0);
        let (head, rest) = buffer.split_at_mut(header.buffer_len());
        header.emit(head);
        rest.copy_from_slice(&self.attributes());
    }
}

impl In {
    fn attributes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, name) in &self.names {
            let nla = DefaultNla::new(*kind, [name.as_bytes(), b"\0"].concat());
            let start = bytes.len();
            bytes.resize(start + nla.buffer_len(), 0);
            nla.emit(&mut bytes[start..]);
        }
        bytes
    }
}

/// Hands over the rules of iptables' chains of these names, and of a table of nftables the entries of
/// some maps, each with the chain's or the map's name.
pub(super) fn each_rule(
    chains: &[&str],
    table: &str,
    maps: &[&str],
    mut each: impl FnMut(&str, &[u8]),
) -> anyhow::Result<()> {
    if !is_loaded() {
        return Ok(());
    }
    let mut socket = Socket::open(NETLINK_NETFILTER)?;
    for (family, of, chain) in chains_of(&mut socket, chains)? {
        let names = vec![(NFTA_RULE_TABLE, of), (NFTA_RULE_CHAIN, chain.clone())];
        visit(&mut socket, NFT_MSG_GETRULE, In { family, names }, |rule| each(&chain, rule))?;
    }
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        for map in maps {
            let names = vec![
                (NFTA_SET_ELEM_LIST_TABLE, table.to_owned()),
                (NFTA_SET_ELEM_LIST_SET, (*map).to_owned()),
            ];
            visit(&mut socket, NFT_MSG_GETSETELEM, In { family, names }, |message| {
                elements(message).for_each(|element| each(map, element));
            })?;
        }
    }
    Ok(())
}

/// What is there; nothing where there is no such table, chain or map.
fn visit(
    socket: &mut Socket,
    message: u16,
    place: In,
    each: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    match socket.visit(NFNL_SUBSYS_NFTABLES << 8 | message, &place, each) {
        Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(()),
        other => other.context("cannot read kube-proxy's rules"),
    }
}

/// Family, table and name of the chains of these names.
fn chains_of(
    socket: &mut Socket,
    chains: &[&str],
) -> anyhow::Result<Vec<(NetfilterProtoFamily, String, String)>> {
    let mut found = Vec::new();
    let all = In { family: NetfilterProtoFamily::Unspec, names: Vec::new() };
    visit(socket, NFT_MSG_GETCHAIN, all, |body| {
        let Ok(header) = NetfilterHeader::parse(body) else { return };
        let attributes = body.get(header.buffer_len()..).unwrap_or_default();
        let name = |kind| find(attributes, kind).map(text);
        if let (Some(table), Some(chain)) = (name(NFTA_CHAIN_TABLE), name(NFTA_CHAIN_NAME))
            && chains.contains(&chain.as_str())
        {
            found.push((header.family, table, chain));
        }
    })?;
    Ok(found)
}

/// The elements in a message of a set, without the comment that may end one (nf_tables_fill_setelem in
/// net/netfilter/nf_tables_api.c, 6.18): it is somebody's free text.
fn elements(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let header = NetfilterHeader::parse(message).map_or(message.len(), |it| it.buffer_len());
    let attributes = message.get(header..).unwrap_or_default();
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    NlasIterator::new(list).map_while(Result::ok).map(|it| {
        let element = it.into_inner();
        let comment = find(it.value(), NFTA_SET_ELEM_USERDATA).unwrap_or_default();
        &element[..element.len() - comment.len()]
    })
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
