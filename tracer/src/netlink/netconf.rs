//! Settings of IPv4 and IPv6, as the kernel applies them: `net.ipv4.conf.*` of this namespace.
//! netlink-packet-route has no such message.

use netlink_packet_core::{Emitable, parse_i32};
use netlink_packet_route::AddressFamily;

use super::attributes::Skipped;
use crate::evidence::{Forwarding, Scope};

/// struct netconfmsg, one byte, padded to 4 (include/uapi/linux/netconf.h).
const HEADER_LENGTH: usize = 4;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
const NETCONFA_RP_FILTER: u16 = 3;
/// In place of an ifindex: `conf.all`, and `conf.default`, what new devices begin with.
const NETCONFA_IFINDEX_ALL: i32 = -1;
const NETCONFA_IFINDEX_DEFAULT: i32 = -2;

/// Asks for the settings of one family. A dump begins with no attribute but the family
/// (net/ipv4/devinet.c, inet_netconf_dump_devconf, Linux 5.10 to 6.18).
pub(super) struct Request(AddressFamily);

/// Asks for the settings of `all`, `default` and every device of one family.
pub(super) const fn request(family: AddressFamily) -> Request {
    Request(family)
}

impl Emitable for Request {
    fn buffer_len(&self) -> usize {
        HEADER_LENGTH
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.fill(0);
        if let Some(family) = buffer.first_mut() {
            *family = self.0.into();
        }
    }
}

/// Whether a device forwards, from the body of an RTM_NEWNETCONF; `None` also for what it says of
/// devices to come.
pub(super) fn decode(body: &[u8], skipped: &mut Skipped) -> Option<Forwarding> {
    let family = if *body.first()? == u8::from(AddressFamily::Inet) { 4 } else { 6 };
    let (mut scope, mut enabled) = (None, None);
    let numbers = skipped.attributes(body.get(HEADER_LENGTH..)?, |attribute| {
        Ok((attribute.kind(), parse_i32(attribute.value())?))
    });
    for (kind, number) in numbers {
        match kind {
            NETCONFA_IFINDEX => scope = scope_of(number),
            NETCONFA_FORWARDING => enabled = Some(number != 0),
            _ => {}
        }
    }
    Some(Forwarding { family, scope: scope?, enabled: enabled? })
}

/// Whose `rp_filter` an RTM_NEWNETCONF of IPv4 tells, and its value; `None` also for `conf.default`.
pub(super) fn reverse_path_filter(body: &[u8]) -> Option<(Scope, u8)> {
    let attributes = body.get(HEADER_LENGTH..)?;
    let number = |kind| super::attributes::find(attributes, kind).and_then(|it| parse_i32(it).ok());
    let scope = scope_of(number(NETCONFA_IFINDEX)?)?;
    Some((scope, u8::try_from(number(NETCONFA_RP_FILTER)?).ok()?))
}

/// Whether a message is of `conf.default`.
pub(super) fn is_default(body: &[u8]) -> bool {
    let index =
        body.get(HEADER_LENGTH..).and_then(|it| super::attributes::find(it, NETCONFA_IFINDEX));
    index.and_then(|value| parse_i32(value).ok()) == Some(NETCONFA_IFINDEX_DEFAULT)
}

fn scope_of(ifindex: i32) -> Option<Scope> {
    match ifindex {
        NETCONFA_IFINDEX_ALL => Some(Scope::All),
        index => u32::try_from(index).ok().map(Scope::Device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: u8, ifindex: i32, forwarding: i32) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        for (kind, value) in [(NETCONFA_IFINDEX, ifindex), (NETCONFA_FORWARDING, forwarding)] {
            body.extend([8, 0]);
            body.extend(kind.to_ne_bytes());
            body.extend(value.to_ne_bytes());
        }
        body
    }

    fn decoded(body: &[u8]) -> Option<Forwarding> {
        decode(body, &mut Skipped::default())
    }

    #[test]
    fn forwarding_is_read_for_a_device_and_for_all() {
        let device = Forwarding { family: 4, scope: Scope::Device(7), enabled: false };
        assert_eq!(decoded(&message(2, 7, 0)), Some(device));
        let all = Forwarding { family: 6, scope: Scope::All, enabled: true };
        assert_eq!(decoded(&message(10, -1, 1)), Some(all));
    }

    #[test]
    fn the_reverse_path_filter_is_read_for_a_device_and_for_all() {
        let filter = |ifindex: i32| {
            let mut body = message(2, ifindex, 1);
            body.extend([8, 0, 3, 0, 2, 0, 0, 0]);
            reverse_path_filter(&body)
        };
        assert_eq!(filter(7), Some((Scope::Device(7), 2)));
        assert_eq!(filter(-1), Some((Scope::All, 2)));
        assert_eq!(filter(-2), None, "what devices to come begin with");
        assert_eq!(reverse_path_filter(&message(2, 7, 1)), None);
    }

    #[test]
    fn what_devices_to_come_begin_with_is_known_and_left_out() {
        assert!(is_default(&message(2, -2, 1)) && !is_default(&message(2, -1, 1)));
        assert_eq!(decoded(&message(2, -2, 1)), None);
    }

    #[test]
    fn a_truncated_message_is_no_setting_and_no_panic() {
        let whole = message(2, 7, 1);
        for length in 0..whole.len() {
            assert_eq!(decoded(&whole[..length]), None, "{length}");
            is_default(&whole[..length]);
        }
    }
}
