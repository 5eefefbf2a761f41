//! flannel-tracer: says why pods on one node cannot reach pods on another.
//!
//! One pipeline: collectors ([`netlink`], [`intent`], [`process`],
//! [`statistics`], [`kernel`]) fill an
//! [`evidence::Evidence`]; [`diagnose`] judges it by pure rules; [`export`] prints the judgement.

pub mod daemon;
pub mod diagnose;
pub mod evidence;
pub mod export;
pub mod filter;
pub mod headers;
pub mod intent;
pub mod kernel;
pub mod netlink;
pub mod observe;
pub mod probe;
pub mod process;
pub mod statistics;
pub mod topology;
