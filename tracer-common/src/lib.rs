//! What flannel-tracer's eBPF programs and its userspace share: the layout of every map.
//!
//! # The ABI rule
//! A type in shared memory consists of plain unsigned integers in native byte order and of byte
//! arrays in network byte order, is `repr(C)`, and spells out its padding. No enum, no `bool`, no
//! `Option`: the other side may write any bit pattern. Fields are private; accessors and pure
//! functions give them their meaning. Size, alignment and offsets are asserted beside each type,
//! at compile time and for both targets.

#![cfg_attr(not(feature = "user"), no_std)]

pub mod address;
pub mod change;
pub mod config;
pub mod counter;
pub mod dns;
pub mod drop;
pub mod flow;
pub mod names;
pub mod peer;
pub mod sample;
pub mod sight;
pub mod stage;
#[cfg(feature = "user")]
mod user;
pub mod vip;
