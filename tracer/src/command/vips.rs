//! Who answers for VIPs, beside what the stages count: whatever goes wrong here is told, and
//! everything else goes on.

use std::net::IpAddr;

use tracer::{
    evidence::{Intent, Link, Roles, Tables, Vip, VipDevice, Vips},
    kernel::{AnnouncedReading, AttachMode, VipSession, VipTable, plan_vips},
    observe::{LearnedVips, VipObservation, vips},
    process::{ArpSockets, arp_ignore},
    topology::{Topologies, announces_vip, vip_device, vip_devices},
};

use super::proxy_rules::ProxyRules;

/// The programs, or why there are none.
pub(super) struct Answering {
    session: Result<VipSession, anyhow::Error>,
    /// What was announced since the last [`Answering::learn`].
    announced: Vec<AnnouncedReading>,
    /// VIPs among what was announced so far.
    learned: LearnedVips,
    rules: ProxyRules,
}

/// What is known of the node.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) tables: &'a Tables,
    pub(super) intent: &'a Intent,
    pub(super) roles: &'a Roles,
}

// === impl Answering ===

impl Answering {
    /// Begins to count.
    pub(super) fn start(around: Around<'_>, mode: AttachMode) -> Self {
        let plan = plan_vips(&around.topologies(), around.tables, around.intent, &[]);
        let (announced, learned) = (Vec::new(), LearnedVips::default());
        let session = VipSession::start(&plan, mode);
        Self { session, announced, learned, rules: ProxyRules::default() }
    }

    /// What was counted since the start.
    pub(super) fn read(&mut self) -> Option<VipTable> {
        match self.session.as_mut().ok()?.read() {
            Ok(mut table) => {
                self.announced.append(&mut table.announced);
                self.learned.hear(&table);
                Some(table)
            }
            Err(error) => {
                tracing::warn!("VIPs are not read any more: {error:#}");
                self.session = Err(error);
                None
            }
        }
    }

    /// Follows the node's devices.
    pub(super) fn follow(&mut self, around: Around<'_>) {
        let learned = self.learned.addresses();
        let plan = plan_vips(&around.topologies(), around.tables, around.intent, &learned);
        let Ok(session) = &mut self.session else { return };
        if let Err(error) = session.update(&plan) {
            tracing::warn!("VIPs are not read any more: {error:#}");
            self.session = Err(error);
        }
    }

    /// What was seen between the first of these readings and the last.
    pub(super) fn between(&mut self, readings: [&VipTable; 3], around: Around<'_>) -> Option<Vips> {
        let session = self.session.as_ref().ok()?;
        let Around { tables, intent, .. } = around;
        let topologies = around.topologies();
        let devices =
            vip_devices(&topologies, tables, &session.vips(), &intent.vip_interface_options);
        let interface_of = |vip| vip_device(&devices, tables, vip).map(|link| link.name.clone());
        let mut vips = vips(VipObservation {
            readings,
            hooks: session.hooks(),
            given: &intent.vips,
            interface_of: &interface_of,
        });
        vips.devices = answering_on(&devices);
        self.fill_in_rules(&mut vips.entries);
        Some(vips)
    }

    /// Where this node asks for a VIP itself, as it does when it has no rule for it, what was known of
    /// its rules may be wrong.
    fn fill_in_rules(&mut self, vips: &mut [Vip]) {
        let addresses: Vec<IpAddr> = vips.iter().map(|vip| vip.address).collect();
        let rules = self.rules.of(&addresses, vips.iter().any(|vip| vip.own_requests > 0));
        for vip in vips {
            vip.rules = rules.get(&vip.address).copied();
        }
    }

    /// What cannot be seen of VIPs.
    pub(super) fn unseen(&self, intent: &Intent) -> Vec<String> {
        let Ok(session) = &self.session else { return self.refused().into_iter().collect() };
        let hooks = session.hooks();
        let refused = hooks.iter().filter(|hook| !hook.attached);
        let refused =
            refused.map(|it| format!("VIPs on {}: not attached, {}", it.interface, it.because));
        let is_there = |name: &&String| hooks.iter().any(|hook| hook.interface == **name);
        let missing = intent.vip_interface_options.iter().filter(|name| !is_there(name));
        let missing = missing.map(|name| {
            format!(
                "VIPs on {name} (--vip-interface): no such Ethernet device is there, or it is a \
                 port of one that is looked at, or a second one in its network"
            )
        });
        let rules = self.rules.unseen();
        let rules = rules.map(|why| format!("kube-proxy's rules for VIPs: {why}"));
        refused.chain(missing).chain(rules).collect()
    }

    /// Why nothing is seen of VIPs, if nothing is.
    pub(super) fn refused(&self) -> Option<String> {
        self.session.as_ref().err().map(|error| format!("VIPs: {error:#}"))
    }

    /// VIPs that were learned and gave their place up, so far.
    pub(super) const fn forgotten(&self) -> u64 {
        self.learned.forgotten()
    }

    /// From now on what nodes of the cluster have announced is counted too, and no longer what nobody
    /// has asked for or claimed for long.
    pub(super) fn learn(&mut self, around: Around<'_>) {
        self.learned.age();
        let topologies = around.topologies();
        for it in std::mem::take(&mut self.announced) {
            let is_vip = || announces_vip(&topologies, around.tables, it.address, it.mac);
            if is_vip() {
                self.learned.add(it.address);
            }
        }
        self.follow(around);
    }
}

// === impl Around ===

impl<'a> Around<'a> {
    fn topologies(self) -> Topologies<'a> {
        Topologies::from_parts(Some(self.tables), self.intent, self.roles, None)
    }
}

/// How this node answers ARP on devices.
fn answering_on(devices: &[&Link]) -> Vec<VipDevice> {
    let sockets = ArpSockets::read();
    let device = |link: &&Link| VipDevice {
        interface: link.name.clone(),
        ifindex: link.index,
        arp_ignore: arp_ignore(&link.name),
        responders: sockets.as_ref().map(|it| it.at(link.index)),
    };
    devices.iter().map(device).collect()
}
