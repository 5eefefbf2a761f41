use std::net::IpAddr;

use crate::evidence::Origin;

/// A destination whose route the kernel is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where a packet would go.
    pub destination: IpAddr,
    /// As whose packet; goes into the answer as it is.
    pub origin: Origin,
    /// The device by which the packet came in; `None` for one of the node itself.
    pub iif: Option<u32>,
    /// Its source address. With `iif` the kernel wants one that it would accept there.
    pub source: Option<IpAddr>,
}
