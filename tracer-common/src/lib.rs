//! What the eBPF programs and userspace share.
#![cfg_attr(not(feature = "user"), no_std)]
