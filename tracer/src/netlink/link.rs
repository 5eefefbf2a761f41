//! Network devices.

use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily,
    link::{
        InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkLayerType, LinkMessage,
    },
};

use super::attributes::{Skipped, find, text};
use crate::evidence::{Link, MacAddress, Vxlan};

// include/uapi/linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

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
        mac: None,
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
    Some(link)
}

/// The plain attributes; nested ones (IFLA_AF_SPEC, IFLA_PROP_LIST, …) are not needed.
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
    let mut vxlan =
        Vxlan { vni: 0, port: 0, local: None, link: None, learning: false, external: false };
    for attribute in skipped.attributes(data, InfoVxlan::parse) {
        match attribute {
            InfoVxlan::Id(vni) => vxlan.vni = vni,
            InfoVxlan::Port(port) => vxlan.port = port,
            InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(local)),
            InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(local)),
            InfoVxlan::Link(link) => vxlan.link = Some(link).filter(|link| *link != 0),
            InfoVxlan::Learning(learning) => vxlan.learning = learning,
            InfoVxlan::CollectMetadata(external) => vxlan.external = external,
            _ => {}
        }
    }
    vxlan
}
