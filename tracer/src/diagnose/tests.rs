//! The rules together: each fault gives its finding and no other, healthy nodes give none.

mod corpus;
mod details;
mod device;
mod entries;
mod faults;
mod host;
mod injections;
mod ipv6;
mod joined;
mod lookalikes;
mod nodes;
mod pods;
mod process;
mod properties;
mod queues;
mod routes;
mod served;
mod sighted;
mod statistics;
mod underlay;
