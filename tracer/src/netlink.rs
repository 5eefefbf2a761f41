//! The kernel's tables by netlink: the only module that names netlink crates.
//!
//! Everything here sees the network namespace of the calling thread, which need not be the one
//! that /sys shows. Calls are synchronous and short; only [`NetlinkError::Interrupted`] is worth
//! another try.

mod address;
mod ask;
mod attributes;
mod conntrack;
mod follow;
mod followed;
mod link;
mod neighbour;
mod netconf;
mod netfilter;
mod route;
mod rule;
mod socket;
pub mod statistics;
mod tables;
pub mod traffic_control;
mod udp_socket;

pub use self::{
    ask::ask,
    conntrack::{Connection, Connections},
    follow::{Follower, Heard},
    followed::{Action, Change, Followed, Table},
    netfilter::{NetfilterSigns, netfilter_signs, service_rules},
    socket::NetlinkError,
    tables::{dump_routes, dump_tables, read_untold},
};
