//! What `flannel-tracer run` keeps between two windows, and how it speaks of it: the life of a
//! finding, totals that never fall, events, questions over HTTP, and the privileges that remain.
//!
//! The loop itself is in the command; what can be decided without it is here.

pub mod dns;
pub mod drops;
pub mod event;
pub mod http;
pub mod life;
pub mod memory;
pub mod parts;
pub mod privileges;
pub mod totals;
