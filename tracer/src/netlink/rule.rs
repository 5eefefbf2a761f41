//! Policy rules.

use ipnet::IpNet;
use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::{
    AddressFamily,
    rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage},
};

use super::attributes::Skipped;
use crate::evidence::Rule;

/// Asks for all rules of one family.
pub(super) fn request(family: AddressFamily) -> RuleMessage {
    let mut request = RuleMessage::default();
    request.header.family = family;
    request
}

/// A rule from the body of an RTM_NEWRULE.
pub(super) fn decode(body: &[u8], skipped: &mut Skipped) -> Option<Rule> {
    let header = RuleHeader::parse(body).ok()?;
    let mut rule = Rule {
        family: if header.family == AddressFamily::Inet { 4 } else { 6 },
        // A rule of priority 0 carries no FRA_PRIORITY.
        priority: 0,
        table: header.table.into(),
        source: None,
        destination: None,
        iif: None,
        looks_up: header.action == RuleAction::ToTable,
    };
    let attributes = body.get(header.buffer_len()..)?;
    for attribute in skipped.attributes(attributes, RuleAttribute::parse) {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            // Table numbers above 255 do not fit into the header.
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::Source(address) => {
                rule.source = IpNet::new(address, header.src_len).ok();
            }
            RuleAttribute::Destination(address) => {
                rule.destination = IpNet::new(address, header.dst_len).ok();
            }
            RuleAttribute::Iifname(name) => rule.iif = Some(name),
            _ => {}
        }
    }
    Some(rule)
}
