//! clsact and its filters, for kernels without TCX.
//!
//! The kernel keeps a filter after its owner has died, so each carries [`FILTER_NAME`] and a handle
//! that says whose it is, see [`Slot`]: the next start, or `cleanup`, removes what the dead left.
//! Filters of others on the same hook, even of the same priority, stay untouched.

mod attach;
mod filter;
mod leftover;
mod name;
mod qdisc;
mod turn;

pub use self::{
    attach::ClsactFilter,
    filter::{
        EGRESS_PRIORITY, FILTER_NAME, Filter, INGRESS_PRIORITY, add_filter, delete_filter,
        list_filters, priority,
    },
    leftover::{Removed, Slot, remove_leftovers},
    qdisc::{delete_clsact_if_empty, ensure_clsact},
};
