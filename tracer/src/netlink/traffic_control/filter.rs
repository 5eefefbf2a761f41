//! Filters of a clsact qdisc.

use std::{
    num::NonZeroU32,
    os::fd::{AsRawFd, BorrowedFd},
};

use anyhow::Context;
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL, Parseable, ParseableParametrized};
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
    TcOption,
};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::{
    evidence::HookDirection,
    netlink::{
        attributes::{Skipped, find},
        socket::Socket,
    },
};

/// The name that all filters of the tracer carry.
pub const FILTER_NAME: &str = "flannel_tracer";

/// Ingress runs before all others. Priorities that the kernel chooses begin at 0xc000.
pub const INGRESS_PRIORITY: u16 = 1;

/// Egress runs after all others: it counts what they let pass.
pub const EGRESS_PRIORITY: u16 = u16::MAX;

/// All protocols, ARP and VLAN-tagged frames included (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = 3;

const TCA_OPTIONS: u16 = 2;

/// A filter on one side of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Lower runs first.
    pub priority: u16,
    /// Its number within the priority.
    pub handle: NonZeroU32,
    /// Classifier: `bpf`, `u32`, …
    pub kind: String,
    /// A `bpf` filter's name.
    pub name: Option<String>,
    /// Ethernet protocol, host byte order.
    pub protocol: u16,
    /// The program of a `bpf` filter; `None` for classic bytecode.
    pub prog_id: Option<u32>,
}

/// The tracer's priority on this side of a device.
#[must_use]
pub const fn priority(direction: HookDirection) -> u16 {
    match direction {
        HookDirection::Ingress => INGRESS_PRIORITY,
        HookDirection::Egress => EGRESS_PRIORITY,
    }
}

/// Adds a program as a direct-action filter for all protocols. The device needs a clsact qdisc,
/// see [`super::ensure_clsact`].
///
/// # Errors
/// When the kernel refuses, among others because the handle is taken, or because a filter of
/// another kind or protocol holds the priority.
pub fn add_filter(
    ifindex: u32,
    direction: HookDirection,
    program: BorrowedFd<'_>,
    name: &str,
    priority: u16,
    handle: NonZeroU32,
) -> anyhow::Result<()> {
    let mut message = message(ifindex, direction, priority, handle)?;
    let fd = u32::try_from(program.as_raw_fd()).context("a closed program")?;
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(fd)),
        TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    Socket::open(NETLINK_ROUTE)?
        .change(libc::RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &message)
        .with_context(|| {
            format!(
                "cannot add a filter on device {ifindex} with priority {priority}; \
                 'tc filter show' names the filters that are there"
            )
        })
}

/// Deletes one filter, if it is there; others of its priority stay.
///
/// # Errors
/// When the kernel refuses although the filter is there.
pub fn delete_filter(
    ifindex: u32,
    direction: HookDirection,
    priority: u16,
    handle: NonZeroU32,
) -> anyhow::Result<()> {
    let message = message(ifindex, direction, priority, handle)?;
    let Err(error) = Socket::open(NETLINK_ROUTE)?.change(libc::RTM_DELTFILTER, 0, &message) else {
        return Ok(());
    };
    // Device, qdisc or filter gone: kernels differ in the errno, so look instead.
    let is_there = list_filters(ifindex, direction)?
        .iter()
        .any(|filter| filter.priority == priority && filter.handle == handle);
    if is_there {
        return Err(error)
            .with_context(|| format!("cannot delete our filter from device {ifindex}"));
    }
    Ok(())
}

/// The filters on one side of a device; none when it has no clsact qdisc or does not exist.
///
/// # Errors
/// When netlink cannot be used.
pub fn list_filters(ifindex: u32, direction: HookDirection) -> anyhow::Result<Vec<Filter>> {
    let mut message = TcMessage::with_index(i32::try_from(ifindex)?);
    message.header.parent = parent(direction);
    let messages = Socket::open(NETLINK_ROUTE)?
        .dump(libc::RTM_GETTFILTER, &message)
        .with_context(|| format!("cannot list the filters of device {ifindex}"))?;
    Ok(messages.iter().filter_map(|message| decode(&message.body)).collect())
}

/// A filter from the body of an RTM_NEWTFILTER; `None` for the head of a priority, which has no
/// handle.
fn decode(body: &[u8]) -> Option<Filter> {
    let header = TcHeader::parse(body).ok()?;
    let [priority @ .., _, _] = header.info.to_be_bytes();
    let mut filter = Filter {
        priority: u16::from_be_bytes(priority),
        handle: NonZeroU32::new(header.handle.into())?,
        kind: String::new(),
        name: None,
        protocol: u16::from_be((header.info & 0xffff) as u16),
        prog_id: None,
    };
    let mut skipped = Skipped::default();
    let attributes = body.get(header.buffer_len()..)?;
    for attribute in
        skipped.attributes(attributes, |found| TcAttribute::parse_with_param(found, ""))
    {
        if let TcAttribute::Kind(kind) = attribute {
            filter.kind = kind;
        }
    }
    if filter.kind == TcFilterBpf::KIND {
        let options = find(attributes, TCA_OPTIONS).unwrap_or_default();
        for option in skipped.attributes(options, TcFilterBpfOption::parse) {
            match option {
                TcFilterBpfOption::ProgName(name) => filter.name = Some(name),
                TcFilterBpfOption::ProgId(id) => filter.prog_id = Some(id),
                _ => {}
            }
        }
    }
    Some(filter)
}

/// Everything that names one filter of ours. Without the handle the kernel would delete the whole
/// priority (net/sched/cls_api.c, tc_del_tfilter, 6.18): hence a number that cannot be 0.
fn message(
    ifindex: u32,
    direction: HookDirection,
    priority: u16,
    handle: NonZeroU32,
) -> anyhow::Result<TcMessage> {
    let mut message = TcMessage::with_index(i32::try_from(ifindex)?);
    message.header.parent = parent(direction);
    message.header.handle = handle.get().into();
    message.header.info = u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be());
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    Ok(message)
}

const fn parent(direction: HookDirection) -> TcHandle {
    let minor = match direction {
        HookDirection::Ingress => TcHandle::MIN_INGRESS,
        HookDirection::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: TcHandle::CLSACT.major, minor }
}
