//! The root qdisc of each device.

use netlink_packet_core::Emitable;
use netlink_packet_route::tc::{TcHandle, TcHeader, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{Names, short_number_at};
use crate::{
    evidence::QueueCounters,
    netlink::{
        attributes::{find, text},
        socket::{NetlinkError, Socket},
    },
};

// include/uapi/linux/rtnetlink.h and gen_stats.h
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;
/// Where struct gnet_stats_queue has its drops and its overlimits.
const DROPS: usize = 8;
const OVERLIMITS: usize = 16;

/// Reads the root qdiscs of all devices of this thread's network namespace.
///
/// # Errors
/// When netlink cannot be used.
pub fn queues(names: &Names) -> Result<Vec<QueueCounters>, NetlinkError> {
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let messages = socket.dump(libc::RTM_GETQDISC, &TcMessage::default())?;
    Ok(messages.iter().filter_map(|message| decode(&message.body, names)).collect())
}

/// The root of a device; the queues under it are part of its numbers.
fn decode(body: &[u8], names: &Names) -> Option<QueueCounters> {
    let header = TcHeader::parse(body).ok()?;
    if header.parent != TcHandle::ROOT {
        return None;
    }
    let ifindex = u32::try_from(header.index).ok()?;
    let attributes = body.get(header.buffer_len()..)?;
    let queue = find(find(attributes, TCA_STATS2)?, TCA_STATS_QUEUE)?;
    Some(QueueCounters {
        interface: names.get(&ifindex)?.clone(),
        ifindex,
        kind: find(attributes, TCA_KIND).map(text)?,
        dropped: short_number_at(queue, DROPS)?.into(),
        overlimits: short_number_at(queue, OVERLIMITS)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attributes::testing::attribute;

    fn message(parent: u32) -> Vec<u8> {
        let queue: Vec<u8> = [1_u32, 2, 3, 4, 5].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut body = vec![0; 20];
        body[4] = 2;
        body[12..16].copy_from_slice(&parent.to_ne_bytes());
        body.extend(attribute(TCA_KIND, b"tbf\0"));
        body.extend(attribute(TCA_STATS2, &attribute(TCA_STATS_QUEUE, &queue)));
        body
    }

    #[test]
    fn drops_and_overlimits_of_the_root_are_read() {
        let names = Names::from([(2, "eth0".to_owned())]);
        let expected = QueueCounters {
            interface: "eth0".to_owned(),
            ifindex: 2,
            kind: "tbf".to_owned(),
            dropped: 3,
            overlimits: 5,
        };
        assert_eq!(decode(&message(u32::MAX), &names), Some(expected));
        assert_eq!(decode(&message(0x0001_0001), &names), None, "a child is in its root's numbers");
        assert_eq!(decode(&message(u32::MAX), &Names::new()), None);
        let whole = message(u32::MAX);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length], &names), None, "{length}");
        }
    }
}
