//! Who answers ARP on a device of this network namespace: the kernel, as its settings allow, and
//! programs with a packet socket.

use std::fs;

/// EtherTypes of packet sockets that get ARP: ARP's own, and all.
const PROTOCOLS: [u16; 2] = [0x0806, 0x0003];

/// The packet sockets of this network namespace that get ARP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArpSockets {
    /// The device of each; 0 is all devices.
    devices: Vec<u32>,
}

/// The greater of `net.ipv4.conf.X.arp_ignore` of a device and of all, which holds for it
/// (IN_DEV_MAXCONF, include/linux/inetdevice.h, Linux 6.18).
#[must_use]
pub fn arp_ignore(interface: &str) -> Option<u32> {
    let of = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore")).ok()?;
        text.trim().parse::<u32>().ok()
    };
    Some(of("all")?.max(of(interface)?))
}

// === impl ArpSockets ===

impl ArpSockets {
    /// Those that there are now; `None` when the kernel does not tell.
    #[must_use]
    pub fn read() -> Option<Self> {
        // Without packet sockets in the kernel there is no such file, and nobody who has one.
        fs::read_to_string("/proc/thread-self/net/packet").ok().map(|text| Self::parse(&text))
    }

    /// Of packet(7): a line each, with protocol and device in the fourth and fifth column.
    fn parse(text: &str) -> Self {
        let device = |line: &str| {
            let mut columns = line.split_whitespace().skip(3);
            let protocol = u16::from_str_radix(columns.next()?, 16).ok()?;
            let device = columns.next()?.parse().ok()?;
            PROTOCOLS.contains(&protocol).then_some(device)
        };
        Self { devices: text.lines().filter_map(device).collect() }
    }

    /// How many get the ARP of a device.
    #[must_use]
    pub fn at(&self, ifindex: u32) -> u64 {
        self.devices.iter().filter(|it| [0, ifindex].contains(it)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_get_arp_of_a_device_are_counted() {
        let text = "\
sk       RefCnt Type Proto  Iface R Rmem   User   Inode
00000000a 3      3    0806   2     1 0      0      28812
00000000b 3      2    0806   3     1 0      0      28813
00000000c 3      3    0003   0     1 0      0      28814
00000000d 3      3    88cc   2     1 0      0      28815
00000000e 3      3    0800   2     1 0      0      28816
nonsense
";
        let sockets = ArpSockets::parse(text);
        assert_eq!([2, 3, 4].map(|ifindex| sockets.at(ifindex)), [2, 2, 1]);
        assert_eq!(ArpSockets::parse("").at(2), 0);
    }
}
