//! Network devices.

use std::net::IpAddr;

use libc::{IFLA_AF_SPEC, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO};
use netlink_packet_core::{Emitable, Parseable, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily,
    link::{
        InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkLayerType,
        LinkMessage, VxlanDf,
    },
};

use super::attributes::{Skipped, find, text};
use crate::evidence::{DontFragment, Link, MacAddress, Vxlan};

// include/uapi/linux/if_link.h
const IFLA_INET6_CONF: u16 = 2;
/// The place of an interface's IPv6 MTU in IFLA_INET6_CONF, a list of 32-bit numbers
/// (include/uapi/linux/ipv6.h, DEVCONF_MTU6).
const DEVCONF_MTU6: usize = 2;

/// Asks for all devices, without their statistics.
pub(super) fn request() -> LinkMessage {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    request
}

/// A device from the body of an RTM_NEWLINK.
pub(super) fn decode(body: &[u8], skipped: &mut Skipped) -> Option<Link> {
    let header = LinkHeader::parse(body).ok()?;
    let attributes = body.get(header.buffer_len()..)?;
    // Read apart from the rest, where one unknown detail would cost the name or the kind.
    let info = find(attributes, IFLA_LINKINFO).unwrap_or_default();
    let mut link = Link {
        index: header.index,
        name: find(attributes, IFLA_IFNAME).map(text)?,
        kind: find(info, IFLA_INFO_KIND).map(text),
        up: header.flags.contains(LinkFlags::Up),
        lower_up: header.flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        mtu6: None,
        mac: None,
        layer3: is_layer3(header.link_layer_type),
        master: None,
        lower: None,
        lower_elsewhere: false,
        vxlan: None,
    };
    for attribute in basics(attributes, skipped) {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(master) => link.master = Some(master),
            // 0: the other end is gone.
            LinkAttribute::Link(lower) => link.lower = Some(lower).filter(|lower| *lower != 0),
            LinkAttribute::LinkNetNsId(_) => link.lower_elsewhere = true,
            LinkAttribute::Address(mac) if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = mac.try_into().ok().map(MacAddress);
            }
            _ => {}
        }
    }
    if link.kind.as_deref() == Some("vxlan") {
        link.vxlan = find(info, IFLA_INFO_DATA).map(|data| vxlan(data, skipped));
    }
    link.mtu6 = mtu6(attributes).filter(|mtu6| *mtu6 != link.mtu);
    Some(link)
}

/// The MTU of IPv6 on a device; `None` where IPv6 is off.
fn mtu6(attributes: &[u8]) -> Option<u32> {
    let of_ipv6 = find(find(attributes, IFLA_AF_SPEC)?, libc::AF_INET6 as u16)?;
    let (settings, _) = find(of_ipv6, IFLA_INET6_CONF)?.as_chunks();
    settings.get(DEVCONF_MTU6).map(|mtu6| u32::from_ne_bytes(*mtu6))
}

/// Devices whose frames have no link-layer header (include/uapi/linux/if_arp.h, ARPHRD_*).
const fn is_layer3(kind: LinkLayerType) -> bool {
    matches!(
        kind,
        LinkLayerType::None
            | LinkLayerType::Ppp
            | LinkLayerType::Rawip
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit
            | LinkLayerType::Ipgre
            | LinkLayerType::Ip6gre
    )
}

/// The plain attributes; nested ones (IFLA_PROP_LIST, …) are not needed, or read apart.
fn basics(attributes: &[u8], skipped: &mut Skipped) -> Vec<LinkAttribute> {
    let plain = [
        libc::IFLA_ADDRESS,
        libc::IFLA_MTU,
        libc::IFLA_LINK,
        libc::IFLA_MASTER,
        libc::IFLA_LINK_NETNSID,
    ];
    skipped
        .attributes(attributes, |attribute| {
            plain
                .contains(&attribute.kind())
                .then(|| LinkAttribute::parse_with_param(attribute, AddressFamily::Unspec))
                .transpose()
        })
        .into_iter()
        .flatten()
        .collect()
}

/// Settings of a VXLAN device from its IFLA_INFO_DATA. The port travels in network byte order.
fn vxlan(data: &[u8], skipped: &mut Skipped) -> Vxlan {
    let mut vxlan = Vxlan {
        vni: 0,
        port: 0,
        local: None,
        link: None,
        learning: false,
        external: false,
        gbp: false,
        df: DontFragment::Unset,
    };
    for attribute in skipped.attributes(data, InfoVxlan::parse) {
        match attribute {
            InfoVxlan::Id(vni) => vxlan.vni = vni,
            InfoVxlan::Port(port) => vxlan.port = port,
            InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(local)),
            InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(local)),
            InfoVxlan::Link(link) => vxlan.link = Some(link).filter(|link| *link != 0),
            InfoVxlan::Learning(learning) => vxlan.learning = learning,
            InfoVxlan::CollectMetadata(external) => vxlan.external = external,
            InfoVxlan::Gbp => vxlan.gbp = true,
            InfoVxlan::Df(VxlanDf::Set) => vxlan.df = DontFragment::Set,
            InfoVxlan::Df(VxlanDf::Inherit) => vxlan.df = DontFragment::Inherit,
            _ => {}
        }
    }
    vxlan
}

#[cfg(test)]
mod tests {
    use super::{super::attributes::testing::attribute, *};

    #[test]
    fn an_attribute_of_unknown_form_costs_neither_the_link_nor_its_vxlan_settings() {
        let (vni, learning, two_bytes) = (7u32.to_ne_bytes(), [1], [0, 0]);
        let (id, learning_kind, port, df) = (1, 7, 15, 29);
        let data = [
            attribute(id, &vni),
            attribute(port, &[0x21, 0x18]),
            attribute(learning_kind, &learning),
            attribute(df, &[1]),
            attribute(99, &two_bytes),
        ];
        let info =
            [attribute(IFLA_INFO_KIND, b"vxlan\0"), attribute(IFLA_INFO_DATA, &data.concat())];
        let mut body = vec![0; 16];
        body.extend(attribute(IFLA_IFNAME, b"flannel.1\0"));
        body.extend(attribute(libc::IFLA_MTU, &two_bytes));
        body.extend(attribute(IFLA_LINKINFO, &info.concat()));
        let mut skipped = Skipped::default();
        let link = decode(&body, &mut skipped).unwrap();
        assert_eq!((link.name.as_str(), link.kind.as_deref()), ("flannel.1", Some("vxlan")));
        let vxlan = link.vxlan.unwrap();
        assert_eq!((vxlan.vni, vxlan.port, vxlan.learning), (7, 8472, true));
        assert_eq!(vxlan.df, DontFragment::Set);
        assert_eq!(skipped, Skipped { messages: 0, attributes: 1 });
    }

    /// A device of MTU 1500 whose IPv6 has another.
    fn with_mtu6(settings: &[u32]) -> Link {
        let settings: Vec<u8> = settings.iter().flat_map(|it| it.to_ne_bytes()).collect();
        let of_ipv6 = attribute(libc::AF_INET6 as u16, &attribute(IFLA_INET6_CONF, &settings));
        let of_ipv4 = attribute(libc::AF_INET as u16, &attribute(1, &[0; 8]));
        let mut body = vec![0; 16];
        body.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        body.extend(attribute(libc::IFLA_MTU, &1500_u32.to_ne_bytes()));
        body.extend(attribute(IFLA_AF_SPEC, &[of_ipv4, of_ipv6].concat()));
        decode(&body, &mut Skipped::default()).unwrap()
    }

    #[test]
    fn an_mtu_of_ipv6_is_told_where_it_is_another() {
        assert_eq!(with_mtu6(&[1, 64, 1400, 1]).mtu6, Some(1400));
        assert_eq!(with_mtu6(&[1, 64, 1500, 1]).mtu6, None);
        assert_eq!(with_mtu6(&[1, 64]).mtu6, None, "IPv6 is off, or the list is short");
    }

    #[test]
    fn the_link_layer_tells_what_a_frame_begins_with() {
        let link = |kind: u16| {
            let mut body = vec![0; 16];
            body[2..4].copy_from_slice(&kind.to_ne_bytes());
            body.extend(attribute(IFLA_IFNAME, b"up0\0"));
            body.extend(attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]));
            let link = decode(&body, &mut Skipped::default()).unwrap();
            (link.mac.is_some(), link.layer3)
        };
        assert_eq!(link(libc::ARPHRD_ETHER), (true, false));
        for kind in [libc::ARPHRD_NONE, libc::ARPHRD_PPP, libc::ARPHRD_TUNNEL, libc::ARPHRD_SIT] {
            assert_eq!(link(kind), (false, true), "{kind}");
        }
        assert_eq!(link(libc::ARPHRD_INFINIBAND), (false, false));
    }

    #[test]
    fn a_message_without_a_name_is_no_link() {
        assert_eq!(decode(&[0; 16], &mut Skipped::default()), None);
        assert_eq!(decode(&[0; 3], &mut Skipped::default()), None);
    }
}
