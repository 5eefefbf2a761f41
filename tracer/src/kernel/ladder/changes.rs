//! Who changes a table: a program where the kernel takes the requests for it.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    evidence::{Capability, Origin},
    kernel::changes::Changes,
    netlink,
    topology::Question,
};

const FEATURE: &str = "changes";
const LOST: &str = "who changed a table (changed_by is null)";

/// Attaches the program and lets it see a request.
pub(super) fn rung() -> Capability {
    let changes = match Changes::start() {
        Ok(changes) => changes,
        Err(error) => return super::off(FEATURE, &error.to_string(), LOST),
    };
    let way = changes.way();
    match sees_a_request(&changes) {
        Ok(true) => super::on(FEATURE, format!("{way} sees requests for the tables")),
        Ok(false) => super::off(FEATURE, &format!("{way} is attached and sees no request"), LOST),
        Err(error) => super::off(FEATURE, &format!("{error:#}"), LOST),
    }
}

fn sees_a_request(changes: &Changes) -> anyhow::Result<bool> {
    let count = || changes.requests(libc::RTM_GETROUTE);
    let before = count()?;
    let destination = IpAddr::V4(Ipv4Addr::LOCALHOST);
    netlink::ask(&[Question { destination, origin: Origin::Node, iif: None, source: None }])?;
    Ok(count()? > before)
}
