//! A VIP that is somebody's now who did not have it before.

use std::net::IpAddr;

use serde::Serialize;

use crate::evidence::MacAddress;

/// Who claims a VIP now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VipChange {
    /// The VIP.
    pub address: IpAddr,
    /// The device whose subnet holds it.
    pub interface: Option<String>,
    /// Who claims it.
    pub owner_mac: MacAddress,
    /// The node that this is, by name or address, where it is one of the cluster.
    pub owner_node: Option<String>,
    /// Who claimed it before; `None` when nobody was seen to.
    pub former_owner_mac: Option<MacAddress>,
    /// For how long nobody claimed it between the two, in seconds.
    pub gap_seconds: Option<f64>,
}

impl VipChange {
    pub(super) fn headline(&self) -> String {
        let node = self.owner_node.as_ref().map(|node| format!("{node}, ")).unwrap_or_default();
        let owner = format!("vip {}  claimed by {node}{}", self.address, self.owner_mac);
        match (self.former_owner_mac, self.gap_seconds) {
            (Some(former), Some(gap)) => {
                format!("{owner}, before by {former}; {gap:.2} s without an owner")
            }
            _ => owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_both_owners_and_the_gap() {
        let first = VipChange {
            address: "192.0.2.50".parse().unwrap(),
            interface: Some("eth0".to_owned()),
            owner_mac: MacAddress([2, 0, 0, 0, 0, 1]),
            owner_node: Some("n1".to_owned()),
            former_owner_mac: None,
            gap_seconds: None,
        };
        assert_eq!(first.headline(), "vip 192.0.2.50  claimed by n1, 02:00:00:00:00:01");
        let former_owner_mac = Some(MacAddress([2, 0, 0, 0, 0, 2]));
        let second = VipChange { former_owner_mac, gap_seconds: Some(6.25), ..first };
        assert!(
            second.headline().ends_with("before by 02:00:00:00:00:02; 6.25 s without an owner")
        );
    }
}
