//! The netlink collectors against the running kernel, compared with what iproute2 says.
//!
//! Needs root: every case makes fresh network namespaces of its own, which vanish with it.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod follow;
mod namespace;
mod netfilter;
mod statistics;
mod tables;
mod traffic_control;
