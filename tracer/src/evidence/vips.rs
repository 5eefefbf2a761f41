use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Hook, MacAddress};

/// What was seen in the window of those who ask for VIPs (addresses of load balancers) and of those
/// who answer, by ARP and IPv6 neighbour discovery.
///
/// A node sees every request, because these are broadcast, but of the replies only its own and those
/// to itself: that no reply was seen proves nothing by itself.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vips {
    /// By VIP: those that were asked for by option first, then those that announced themselves.
    pub entries: Vec<Vip>,
    /// VIPs that found no room in the programs' tables.
    pub without_room: u64,
    /// Announcements of other addresses that found no room there, in the window.
    pub unannounced: u64,
    /// Where programs were to be attached for VIPs, and whether they are.
    pub hooks: Vec<Hook>,
    /// How the node answers ARP on these devices; older evidence has none.
    #[serde(default)]
    pub devices: Vec<VipDevice>,
}

/// How a node answers ARP on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipDevice {
    /// Its name.
    pub interface: String,
    /// Its number.
    pub ifindex: u32,
    /// Which of its addresses the kernel keeps back there: the greater of `arp_ignore` of the device
    /// and of all devices.
    pub arp_ignore: Option<u32>,
    /// Sockets of programs that read ARP there, as MetalLB's speaker has one.
    pub responders: Option<u64>,
}

/// What kube-proxy has for a VIP on this node.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipRules {
    /// A rule names the VIP.
    pub named: bool,
    /// A rule drops what comes for it: its service has endpoints on other nodes alone, and
    /// `externalTrafficPolicy: Local`.
    pub dropped: bool,
}

/// A VIP. Ages are in seconds before the end of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// The device whose subnet holds it.
    pub interface: Option<String>,
    /// Named by option; else it was announced by a node of the cluster.
    pub given: bool,
    /// Requests for it that came in.
    pub requests: u64,
    /// Requests for it that this node sent.
    pub own_requests: u64,
    /// Who asked in the window, as far as they are told apart; most requests first.
    pub clients: Vec<VipClient>,
    /// Replies seen, of this node and of others.
    pub replies: u64,
    /// Unasked announcements seen, of this node and of others.
    pub gratuitous: u64,
    /// Who claims it, in the order in which they were first seen; of those who did not in the window
    /// the counts are 0. At most eight.
    pub announcers: Vec<VipAnnouncer>,
    /// Who claimed it last; `None` when nobody has since the programs were loaded.
    pub owner: Option<VipOwner>,
    /// Changes of the owner in the window.
    pub owner_changes: u64,
    /// Age of the last unasked announcement.
    pub gratuitous_age: Option<f64>,
    /// kube-proxy's rules for it; `None` where they were not read.
    #[serde(default)]
    pub rules: Option<VipRules>,
}

/// Who asked for a VIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipClient {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: MacAddress,
    /// Requests in the window.
    pub requests: u64,
    /// Ages of the last requests, the latest first; four at least where there were as many.
    pub asked: Vec<f64>,
}

/// Who claims a VIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipAnnouncer {
    /// Its MAC.
    pub mac: MacAddress,
    /// Replies in the window.
    pub replies: u64,
    /// Unasked announcements in the window.
    pub gratuitous: u64,
    /// Both until the read in the middle.
    pub early: u64,
    /// What of both left this node.
    pub from_here: u64,
    /// Age of its last claim.
    pub age: f64,
    /// Age of its first claim since the programs were loaded; older evidence has none.
    #[serde(default)]
    pub first_age: f64,
}

/// Who claimed a VIP last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipOwner {
    /// Its MAC.
    pub mac: MacAddress,
    /// Since when: the age of its first claim after another's.
    pub since_age: f64,
    /// Age of its last claim.
    pub age: f64,
    /// The owner before, where one was seen.
    pub former: Option<MacAddress>,
    /// For how long nobody claimed it between the two, seconds.
    pub gap: Option<f64>,
}

/// How far apart the kernel's own requests are while nobody answers (net.ipv4.neigh.*.retrans_time_ms,
/// 1 s), with what others take: in seconds.
const RETRY: std::ops::RangeInclusive<f64> = 0.5..=3.5;
/// Three requests of one attempt, and one of the next.
const RETRIES: usize = 4;
/// Programs that ask whatever the answer is, as arping by broadcast, do so by a clock: so many seconds
/// apart, or twice or three times that.
const CLOCK: f64 = 0.5;
/// How exact they are, in seconds. The kernel is not: its timers of a second last 13 to 40 ms longer
/// (kernel/time/timer.c, calc_index(), Linux 6.18), and an attempt begins with a packet.
const EXACT: f64 = 0.010;
/// So many gaps of three that are not by the clock are no chance.
const FREE: usize = 2;

impl VipClient {
    /// Whether it asks again and again, a second or so apart, and nobody was seen to claim the VIP
    /// since it began to.
    #[must_use]
    pub fn retries(&self, vip: &Vip) -> bool {
        let apart = |two: &[f64]| RETRY.contains(&(two[1] - two[0]));
        let is_free = |two: &&[f64]| {
            let ticks = (two[1] - two[0]) / CLOCK;
            (ticks - ticks.round()).abs() * CLOCK >= EXACT
        };
        let Some(first) = self.asked.get(RETRIES - 1) else { return false };
        let is_answered = vip.owner.as_ref().is_some_and(|owner| owner.age <= *first);
        // A client that has its answer asks no more.
        let still_asks = self.asked[0] <= *RETRY.end();
        let mut gaps = self.asked[..RETRIES].windows(2);
        let is_free = gaps.clone().filter(is_free).count() >= FREE;
        still_asks && gaps.all(apart) && is_free && !is_answered
    }
}
