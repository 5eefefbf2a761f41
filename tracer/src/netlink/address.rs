//! Addresses of devices.

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressHeaderFlags, AddressMessage,
};

use super::attributes::Skipped;
use crate::evidence::Address;

/// Asks for all addresses of both families.
pub(super) fn request() -> AddressMessage {
    AddressMessage::default()
}

/// An address from the body of an RTM_NEWADDR. `uptime` is CLOCK_MONOTONIC in hundredths of a
/// second.
pub(super) fn decode(body: &[u8], uptime: u32, skipped: &mut Skipped) -> Option<Address> {
    let header = AddressHeader::parse(body).ok()?;
    let attributes = body.get(header.buffer_len()..)?;
    let (mut address, mut local, mut created_age) = (None, None, None);
    let mut dad_failed = header.flags.contains(AddressHeaderFlags::Dadfailed);
    for attribute in skipped.attributes(attributes, AddressAttribute::parse) {
        match attribute {
            AddressAttribute::Address(found) => address = Some(found),
            AddressAttribute::Local(found) => local = Some(found),
            AddressAttribute::CacheInfo(info) => created_age = Some(age(uptime, info.cstamp)),
            AddressAttribute::Flags(flags) => dad_failed = flags.contains(AddressFlags::Dadfailed),
            _ => {}
        }
    }
    Some(Address {
        ifindex: header.index,
        // On a point-to-point device IFA_ADDRESS is the other end.
        address: local.or(address)?,
        prefix_length: header.prefix_len,
        created_age,
        dad_failed,
    })
}

/// Seconds since `stamp`, both in hundredths of a second since boot, modulo 2^32 (497 days).
///
/// The kernel's stamp counts jiffies since boot (net/ipv6/addrconf.c, cstamp_delta, 5.10 to
/// 6.18), which follow CLOCK_MONOTONIC from a slightly other start: a stamp a little in the
/// future is age 0.
fn age(uptime: u32, stamp: u32) -> f64 {
    let future = u32::MAX - 60 * 100;
    match uptime.wrapping_sub(stamp) {
        age if age > future => 0.0,
        age => f64::from(age) / 100.0,
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn age_is_the_difference_in_seconds() {
        assert_eq!(age(1_250, 1_000), 2.5);
    }

    #[test]
    fn a_stamp_slightly_in_the_future_is_age_zero() {
        assert_eq!(age(1_000, 1_010), 0.0);
    }

    #[test]
    fn age_survives_the_wrap_after_497_days() {
        assert_eq!(age(100, u32::MAX - 99), 2.0);
    }
}
