//! The rules together: each fault gives its finding and no other, healthy nodes give none.

mod faults;
mod lookalikes;
mod properties;
