//! What kube-proxy has for VIPs on this node, asked for now and then: in a large cluster that is some
//! thousand rules to look through.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tracer::{
    evidence::{Vip, VipRules},
    netlink,
};

/// For how long an answer holds while nothing speaks against it.
const FRESH: Duration = Duration::from_secs(60);

/// The last answer, and when it was given.
#[derive(Default)]
pub(super) struct ProxyRules(Option<(Instant, Answer)>);

type Answer = Result<BTreeMap<IpAddr, VipRules>, String>;

// === impl ProxyRules ===

impl ProxyRules {
    /// Fills in the rules of VIPs. Where this node asks for one itself, as it does when it has no rule
    /// for it, they are asked for anew.
    pub(super) fn fill(&mut self, vips: &mut [Vip]) {
        let is_known = |vip: &Vip| {
            let answer = self.0.as_ref().map(|(_, answer)| answer);
            answer.is_some_and(|it| it.as_ref().is_ok_and(|it| it.contains_key(&vip.address)))
        };
        let is_fresh = self.0.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
        let is_good = is_fresh && vips.iter().all(|vip| vip.own_requests == 0 && is_known(vip));
        if !is_good && !vips.is_empty() {
            let addresses: Vec<IpAddr> = vips.iter().map(|vip| vip.address).collect();
            let answer = netlink::service_rules(&addresses);
            self.0 = Some((Instant::now(), answer.map_err(|error| format!("{error:#}"))));
        }
        let rules = self.0.as_ref().and_then(|(_, answer)| answer.as_ref().ok());
        for vip in vips {
            vip.rules = rules.and_then(|it| it.get(&vip.address)).copied();
        }
    }

    /// Why there is none.
    pub(super) fn unseen(&self) -> Option<String> {
        let (_, answer) = self.0.as_ref()?;
        Some(format!("kube-proxy's rules for VIPs: {}", answer.as_ref().err()?))
    }
}
