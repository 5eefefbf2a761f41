//! The drop programs against the running kernel: what is dropped in a network namespace is counted
//! there, exactly, and named.
//!
//! Needs root: every case makes fresh network namespaces of its own, which vanish with it. What a
//! kernel cannot show is asserted too: no reasons before 5.17, no headers under
//! `lockdown=confidentiality`.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod capped;
mod flows;
mod many;
#[expect(dead_code, reason = "shared with the suite of the netlink collectors")]
#[path = "../netlink/namespace.rs"]
mod namespace;
mod node;
mod places;
mod pods;
mod variant;
