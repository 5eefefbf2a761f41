//! The rules together: each fault gives its finding and no other, healthy nodes give none.

mod corpus;
mod counted;
mod details;
mod device;
mod entries;
mod faults;
mod firewalls;
mod host;
mod in_pods;
mod injections;
mod ipv6;
mod joined;
mod lookalikes;
mod nodes;
mod pods;
mod process;
mod programs;
mod properties;
mod queues;
mod routes;
mod served;
mod services;
mod sighted;
mod statistics;
mod underlay;
