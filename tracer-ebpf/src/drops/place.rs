//! Whose drop it is: the namespace and the device of a packet.

use tracer_common::drop::Field;

use crate::structure::{Structure, layout};

/// Where a packet was when it was dropped.
pub(crate) enum Place {
    /// In the namespace that counts, at the device of this index (0: at none yet).
    Here(u32),
    /// In another namespace.
    Elsewhere,
    /// The packet names neither a device nor a socket.
    Unknown,
}

/// The place of a packet: that of its device, else that of its socket. A packet that the node sends
/// has no device before it is routed (dropped in LOCAL_OUT: net/ipv4/ip_output.c, Linux 6.18), and
/// in a UDP receive queue the field holds something else (`dev_scratch`, net/ipv4/udp.c).
#[inline(always)]
pub(crate) fn of(skb: Structure) -> Place {
    if let Some(device) = skb.follow_shared(Field::SkbDevice)
        && let Some(namespace) = device.follow(Field::DeviceNamespace)
    {
        let place = at(namespace, device, Field::DeviceIndex);
        if !matches!(place, Place::Unknown) {
            return place;
        }
    }
    if let Some(socket) = skb.follow(Field::SkbSocket)
        && let Some(namespace) = socket.follow(Field::SocketNamespace)
    {
        return at(namespace, socket, Field::SocketBoundIndex);
    }
    Place::Unknown
}

/// The place of something in `namespace`, with the index of its device in `index`.
#[inline(always)]
fn at(namespace: Structure, owner: Structure, index: Field) -> Place {
    match namespace.load::<u32>(Field::NamespaceInode) {
        // No namespace has number 0: this was none, and the load failed.
        0 => Place::Unknown,
        inode if inode == layout().namespace() => Place::Here(owner.load(index)),
        _ => Place::Elsewhere,
    }
}
