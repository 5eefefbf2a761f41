//! Names of the chains of legacy iptables and the rules of some, which has no netlink: getsockopt(2) gives a table's
//! entries, among which each chain begins with an entry that holds its name.

use std::{
    fs, io,
    net::{IpAddr, UdpSocket},
    os::fd::{AsRawFd, RawFd},
};

use anyhow::Context;

// include/uapi/linux/netfilter_ipv4/ip_tables.h; the IPv6 twin has the same numbers.
const IPT_SO_GET_INFO: libc::c_int = 64;
const IPT_SO_GET_ENTRIES: libc::c_int = 65;
/// Size of `struct ipt_getinfo`, and where in it the size of the entries stands.
const INFO_LENGTH: usize = 84;
const INFO_SIZE: usize = 80;
/// Size of `struct ipt_get_entries` before the entries, and where in it their size stands.
const ENTRIES_HEADER: usize = 40;
const ENTRIES_SIZE: usize = 32;
/// `struct xt_entry_target`: its name, and where its data begin.
const TARGET_NAME: usize = 2;
const TARGET_DATA: usize = 32;
/// The target whose data are a chain's name (XT_ERROR_TARGET).
const ERROR_TARGET: &str = "ERROR";

/// A table that grows between the two system calls makes the second fail with EAGAIN.
const ATTEMPTS: u32 = 10;

/// iptables or ip6tables.
struct Family {
    /// As nft(8) writes it.
    name: &'static str,
    /// Lists the tables that exist in this thread's network namespace. Asking for another one
    /// would load its module or make it.
    names: &'static str,
    /// An address for a socket that takes the options; needs no capability, unlike a raw one.
    any: &'static str,
    level: libc::c_int,
    /// Where `struct ipt_entry` or `ip6t_entry` has the offset of its target, followed by that of
    /// the next entry.
    target_offset: usize,
    /// Where the destination stands, and its mask: `struct ipt_ip` and `struct ip6t_ip6`.
    destination: usize,
    mask: usize,
    /// Bytes of an address.
    width: usize,
}

/// A rule as the kernel lays it out.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    family: &'static Family,
    pub(super) bytes: &'a [u8],
}

static FAMILIES: [Family; 2] = [
    Family {
        name: "ip",
        names: "/proc/thread-self/net/ip_tables_names",
        any: "0.0.0.0:0",
        level: libc::IPPROTO_IP,
        target_offset: 88,
        destination: 4,
        mask: 12,
        width: 4,
    },
    Family {
        name: "ip6",
        names: "/proc/thread-self/net/ip6_tables_names",
        any: "[::]:0",
        level: libc::IPPROTO_IPV6,
        target_offset: 140,
        destination: 16,
        mask: 48,
        width: 16,
    },
];

/// The chains of all tables that exist, built-in ones left out, each with its family.
pub(super) fn chains() -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut chains = Vec::new();
    each_table(|family, entries| {
        let names = chain_names(entries, family.target_offset);
        chains.extend(names.into_iter().map(|name| (family.name, name)));
    })?;
    Ok(chains)
}

/// Hands over the rules of the chains of these names, each with its chain's.
pub(super) fn each_rule(
    chains: &[&str],
    mut each: impl FnMut(&str, Rule<'_>),
) -> anyhow::Result<()> {
    each_table(|family, entries| rules(family, entries, chains, &mut each))
}

fn rules(
    family: &'static Family,
    entries: &[u8],
    chains: &[&str],
    each: &mut impl FnMut(&str, Rule<'_>),
) {
    let mut chain = None;
    each_entry(entries, family.target_offset, |bytes, target| match head(target) {
        Some(name) => chain = chains.iter().find(|it| **it == name),
        None => {
            if let Some(chain) = chain {
                each(chain, Rule { family, bytes });
            }
        }
    });
}

/// Hands over the entries of all tables that exist.
fn each_table(mut each: impl FnMut(&'static Family, &[u8])) -> anyhow::Result<()> {
    for family in &FAMILIES {
        // Without legacy iptables in the kernel there is no such file.
        let tables = fs::read_to_string(family.names).unwrap_or_default();
        for table in tables.lines() {
            let entries = entries(family, table)
                .with_context(|| format!("cannot read the legacy iptables table {table}"))?;
            each(family, &entries);
        }
    }
    Ok(())
}

impl Rule<'_> {
    /// Whether it is for packets to this one address.
    pub(super) fn is_to(&self, address: IpAddr) -> bool {
        let Family { destination, mask, width, .. } = *self.family;
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let field = |at: usize| self.bytes.get(at..at + width);
        field(destination) == Some(&octets[..])
            && field(mask).is_some_and(|mask| mask.iter().all(|byte| *byte == 0xff))
    }
}

/// The entries of a table as the kernel lays them out.
fn entries(family: &Family, table: &str) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(family.any)?;
    let mut again = io::Error::from(io::ErrorKind::WouldBlock);
    for _ in 0..ATTEMPTS {
        let mut info = vec![0; INFO_LENGTH];
        put(&mut info, 0, table.as_bytes());
        get(socket.as_raw_fd(), family.level, IPT_SO_GET_INFO, &mut info)?;
        let size = u32_at(&info, INFO_SIZE).unwrap_or(0);
        let mut answer = vec![0; ENTRIES_HEADER + size as usize];
        put(&mut answer, 0, table.as_bytes());
        put(&mut answer, ENTRIES_SIZE, &size.to_ne_bytes());
        match get(socket.as_raw_fd(), family.level, IPT_SO_GET_ENTRIES, &mut answer) {
            Ok(()) => return Ok(answer.split_off(ENTRIES_HEADER)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => again = error,
            Err(error) => return Err(error),
        }
    }
    Err(again)
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in buffer.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn get(
    socket: RawFd,
    level: libc::c_int,
    option: libc::c_int,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
    let to = buffer.as_mut_ptr().cast();
    // SAFETY: `to` points to `length` bytes that live until the call returns; the kernel writes
    // no more than that.
    let result = unsafe { libc::getsockopt(socket, level, option, to, &raw mut length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The names of the chains among a table's entries.
fn chain_names(entries: &[u8], target_offset: usize) -> Vec<String> {
    let mut names = Vec::new();
    each_entry(entries, target_offset, |_, target| names.extend(head(target)));
    names
}

/// The name of the chain that begins with the entry of this target.
fn head(target: &[u8]) -> Option<String> {
    // The last entry is an error target too, named ERROR, and ends the table.
    let name = string(target, TARGET_NAME).filter(|name| name == ERROR_TARGET)?;
    string(target, TARGET_DATA).filter(|chain| *chain != name)
}

/// Hands over every entry, and its target.
fn each_entry(entries: &[u8], target_offset: usize, mut each: impl FnMut(&[u8], &[u8])) {
    let mut rest = entries;
    while let Some((target, next)) =
        u16_at(rest, target_offset).zip(u16_at(rest, target_offset + 2))
    {
        let entry = rest.get(..usize::from(next)).unwrap_or_default();
        each(entry, rest.get(usize::from(target)..).unwrap_or_default());
        if next == 0 {
            break;
        }
        rest = rest.get(usize::from(next)..).unwrap_or_default();
    }
}

/// The string that ends with a zero from `at`, of 30 bytes at most.
fn string(bytes: &[u8], at: usize) -> Option<String> {
    let longest = 30;
    let field = bytes.get(at..)?;
    let end = field.iter().take(longest).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&field[..end]).into_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET_OFFSET: usize = 88;
    const TARGET: u16 = 112;
    const ENTRY: usize = 176;

    /// An entry of iptables whose target is `name` with `data`.
    fn entry(name: &str, data: &str) -> Vec<u8> {
        let mut entry = vec![0; ENTRY];
        put(&mut entry, TARGET_OFFSET, &TARGET.to_ne_bytes());
        put(&mut entry, TARGET_OFFSET + 2, &176u16.to_ne_bytes());
        put(&mut entry, usize::from(TARGET) + TARGET_NAME, name.as_bytes());
        put(&mut entry, usize::from(TARGET) + TARGET_DATA, data.as_bytes());
        entry
    }

    #[test]
    fn only_chain_heads_have_names() {
        let table = [entry("", ""), entry("ERROR", "FLANNEL-FWD"), entry("MARK", "FLANNEL-X")];
        let table = [table.concat(), entry("ERROR", "ERROR")].concat();
        assert_eq!(chain_names(&table, TARGET_OFFSET), ["FLANNEL-FWD"]);
    }

    #[test]
    fn a_rule_belongs_to_the_chain_before_it_and_to_its_destination() {
        let rule = |destination: [u8; 4], mask: [u8; 4]| {
            let mut rule = entry("", "");
            put(&mut rule, 4, &destination);
            put(&mut rule, 12, &mask);
            rule
        };
        let (vip, host) = ([192, 0, 2, 7], [0xff; 4]);
        let table = [
            rule(vip, host),
            entry("ERROR", "KUBE-SERVICES"),
            rule([192, 0, 2, 8], host),
            rule(vip, host),
            rule(vip, [0xff, 0xff, 0xff, 0]),
            entry("ERROR", "OTHER"),
            rule(vip, host),
            entry("ERROR", "ERROR"),
        ];
        let (mut all, mut its) = (0, 0);
        rules(&FAMILIES[0], &table.concat(), &["KUBE-SERVICES"], &mut |chain, rule| {
            assert_eq!(chain, "KUBE-SERVICES");
            all += 1;
            its += u32::from(rule.is_to(vip.into()));
        });
        assert_eq!((all, its), (3, 1));
    }

    proptest! {
        #[test]
        fn no_answer_of_the_kernel_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            chain_names(&bytes, TARGET_OFFSET);
        }
    }
}
