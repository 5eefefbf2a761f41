//! The connection tracking table: how full it is and what it lost, by the kernel's own statistics.
//! Its entries are never dumped, nor is their coming and going listened to.

use std::fs;

use netlink_packet_core::Emitable;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::{
    evidence::Conntrack,
    netlink::{attributes::find, socket::Socket},
};

// include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET_STATS_CPU: u16 = 4;
const CTA_STATS_INSERT_FAILED: u16 = 9;
const CTA_STATS_DROP: u16 = 10;

/// Of this thread's network namespace.
const SETTINGS: &str = "/proc/sys/net/netfilter";
/// The same numbers, a line a processor, where the kernel was built with them.
const BY_PROCESSOR: &str = "/proc/thread-self/net/stat/nf_conntrack";

/// What was lost, since the namespace was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lost {
    dropped: u64,
    insert_failed: u64,
}

/// The table of this thread's network namespace; `None` where nothing is tracked. Needs the
/// capability NET_ADMIN on kernels that do not tell it in /proc.
///
/// # Errors
/// When its numbers cannot be read.
pub fn conntrack() -> anyhow::Result<Option<Conntrack>> {
    let Some(entries) = setting("nf_conntrack_count") else { return Ok(None) };
    let Some(most) = setting("nf_conntrack_max") else { return Ok(None) };
    let lost = match fs::read_to_string(BY_PROCESSOR) {
        Ok(text) => in_text(&text),
        Err(_) => by_netlink()?,
    };
    let Lost { dropped, insert_failed } = lost;
    Ok(Some(Conntrack { entries, most, dropped, insert_failed }))
}

fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(format!("{SETTINGS}/{name}")).ok()?.trim().parse().ok()
}

/// Hexadecimal columns under their names.
fn in_text(text: &str) -> Lost {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let place = |name: &str| names.iter().position(|it| *it == name);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let sum = |name: &str| {
        let Some(place) = place(name) else { return 0 };
        let cells = rows.iter().filter_map(|row| row.get(place));
        cells.filter_map(|cell| u64::from_str_radix(cell, 16).ok()).sum()
    };
    Lost { dropped: sum("drop"), insert_failed: sum("insert_failed") }
}

fn by_netlink() -> anyhow::Result<Lost> {
    if would_load_module() {
        anyhow::bail!(
            "this kernel tells them by its module nf_conntrack_netlink, which is not loaded"
        );
    }
    let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS_CPU;
    let request = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let messages = Socket::open(NETLINK_NETFILTER)?.dump(kind, &request)?;
    let of_processors = messages.iter().map(|message| decode(&message.body));
    Ok(of_processors.fold(Lost::default(), |sum, it| Lost {
        dropped: sum.dropped + it.dropped,
        insert_failed: sum.insert_failed + it.insert_failed,
    }))
}

/// Whether asking could load the kernel's module (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg,
/// 6.18). One that is built in cannot be told from one that is absent, and is not asked.
fn would_load_module() -> bool {
    let Ok(modules) = fs::read_to_string("/proc/modules") else { return false };
    !modules.lines().any(|line| line.starts_with("nf_conntrack_netlink "))
}

/// What one processor counted; numbers of this subsystem travel in network byte order.
fn decode(body: &[u8]) -> Lost {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0).buffer_len();
    let attributes = body.get(header..).unwrap_or_default();
    let number = |kind| {
        let value = find(attributes, kind).and_then(|value| value.first_chunk());
        value.map_or(0, |value| u64::from(u32::from_be_bytes(*value)))
    };
    Lost { dropped: number(CTA_STATS_DROP), insert_failed: number(CTA_STATS_INSERT_FAILED) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attributes::testing::attribute;

    #[test]
    fn columns_are_found_by_their_names_and_processors_added() {
        let text = "entries  insert insert_failed drop early_drop\n\
                    00000002 00000000 00000001 0000000a 00000000\n\
                    00000002 00000000 00000002 00000010 00000000\n";
        assert_eq!(in_text(text), Lost { dropped: 26, insert_failed: 3 });
        assert_eq!(in_text(""), Lost::default());
        assert_eq!(in_text("entries\n00000001\n"), Lost::default());
    }

    #[test]
    fn the_numbers_of_a_processor_are_read_from_a_message() {
        let mut body = vec![0; 4];
        body.extend(attribute(CTA_STATS_INSERT_FAILED, &3_u32.to_be_bytes()));
        body.extend(attribute(CTA_STATS_DROP, &700_u32.to_be_bytes()));
        assert_eq!(decode(&body), Lost { dropped: 700, insert_failed: 3 });
        for length in 0..body.len() {
            decode(&body[..length]);
        }
    }
}
