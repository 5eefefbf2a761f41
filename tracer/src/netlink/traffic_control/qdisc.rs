//! The clsact qdisc, to which filters of both directions belong.

use anyhow::{Context, bail};
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{
    filter::list_filters,
    leftover::{DIRECTIONS, Owner},
};
use crate::netlink::{
    attributes::{find, text},
    socket::Socket,
};

const CLSACT: &str = "clsact";

const TCA_KIND: u16 = 1;

/// Sees to it that a device has a clsact qdisc. Says whether the tracer made it, now or in an
/// earlier life whose filters are still there: only then may it be deleted when it is empty.
///
/// # Errors
/// When the kernel refuses, or an `ingress` qdisc holds the place.
pub fn ensure_clsact(ifindex: u32) -> anyhow::Result<bool> {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let made = Socket::open(NETLINK_ROUTE)?.change(libc::RTM_NEWQDISC, flags, &message(ifindex)?);
    let error = match made {
        Ok(()) => return Ok(true),
        Err(error) => error,
    };
    if error.refusal() != Some(libc::EEXIST) {
        return Err(error).with_context(|| format!("cannot add clsact to device {ifindex}"));
    }
    if !clsact_devices()?.contains(&ifindex) {
        bail!(
            "device {ifindex} has an ingress qdisc, which leaves no place for clsact; \
             use TCX (--attach tcx), or delete it with 'tc qdisc del dev … ingress'"
        );
    }
    made_by_tracer(ifindex)
}

/// Deletes the clsact qdisc of a device when no filter is left in it. Call it only for one that
/// the tracer made, see [`ensure_clsact`], and not while another tracer may add a filter to it.
/// Says whether it is gone.
///
/// # Errors
/// When the kernel refuses although the qdisc is there.
pub fn delete_clsact_if_empty(ifindex: u32) -> anyhow::Result<bool> {
    for direction in DIRECTIONS {
        if !list_filters(ifindex, direction)?.is_empty() {
            return Ok(false);
        }
    }
    let deleted = Socket::open(NETLINK_ROUTE)?.change(libc::RTM_DELQDISC, 0, &message(ifindex)?);
    match deleted {
        Err(error) if clsact_devices()?.contains(&ifindex) => {
            Err(error).with_context(|| format!("cannot delete clsact from device {ifindex}"))
        }
        _ => Ok(true),
    }
}

/// The devices of this network namespace that have a clsact qdisc.
pub(super) fn clsact_devices() -> anyhow::Result<Vec<u32>> {
    let messages = Socket::open(NETLINK_ROUTE)?
        .dump(libc::RTM_GETQDISC, &TcMessage::default())
        .context("cannot list qdiscs")?;
    Ok(messages.iter().filter_map(|message| clsact_device(&message.body)).collect())
}

/// Whether a filter of the tracer says that a tracer made the qdisc.
fn made_by_tracer(ifindex: u32) -> anyhow::Result<bool> {
    for direction in DIRECTIONS {
        let filters = list_filters(ifindex, direction)?;
        if filters.iter().filter_map(Owner::of).any(|owner| owner.made_qdisc) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn clsact_device(body: &[u8]) -> Option<u32> {
    let header = TcHeader::parse(body).ok()?;
    let attributes = body.get(header.buffer_len()..)?;
    let kind = find(attributes, TCA_KIND).map(text)?;
    (kind == CLSACT).then(|| u32::try_from(header.index).ok()).flatten()
}

fn message(ifindex: u32) -> anyhow::Result<TcMessage> {
    let mut message = TcMessage::with_index(i32::try_from(ifindex)?);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    Ok(message)
}
