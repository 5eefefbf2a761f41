//! The lab: flannel nodes as network namespaces on one machine.
//!
//! [`plan::Plan`] says what a lab looks like and is drawn from a seed; from it pure functions
//! compute [`script::Script`]s that build a node ([`node`], [`flannel`], [`pod`], [`netfilter`]),
//! break it ([`fault`]) or make it look broken ([`lookalike`]); [`lab::Lab`] runs them and takes
//! everything down again, whatever happens. In place of the switch there may be a [`relay`], where
//! the uplinks are TUN devices.
//!
//! ```text
//!   fltr-gateway   fltr-client          swallows unknown addresses; a machine of the LAN
//!        │              │
//!   ═════╧═════ fltr-switch ═════╤═════════════════════╤═════   the node network, a bridge
//!                                │ eth0                │ ens3
//!                           fltr-n1: flannel.1    fltr-n2: flannel.1      VXLAN between them
//!                                │ cni0                │ cni0
//!                         fltr-n1-p1  -p2        fltr-n2-p1  -p2  -dns    pods
//! ```

pub mod attached;
pub mod bpf;
pub mod capabilities;
pub mod cell;
pub mod counters;
pub mod daemon;
pub mod deaf;
pub mod drawing;
pub mod effort;
pub mod expect;
pub mod family;
pub mod fault;
pub mod flannel;
pub mod flanneld;
pub mod healthy;
pub mod inject;
pub mod kernel;
pub mod kernel_module;
pub mod lab;
pub mod lan;
pub mod less;
pub mod lookalike;
pub mod loss;
pub mod machine;
pub mod matrix;
pub mod netfilter;
pub mod netns;
pub mod node;
pub mod plan;
pub mod pod;
pub mod poll;
pub mod process;
pub mod published;
pub mod relay;
pub mod responder;
pub mod sample;
pub mod script;
pub mod seed;
pub mod service;
pub mod shown;
pub mod size;
pub mod soak;
pub mod state;
pub mod teardown;
pub mod told;
pub mod tracer;
pub mod traffic;
pub mod tun;
pub mod watch;
