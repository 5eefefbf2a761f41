//! What kube-proxy has for addresses on this node, asked for now and then: in a large cluster that is
//! some thousand rules to look through.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tracer::{evidence::VipRules, netlink};

/// For how long an answer holds while nothing speaks against it.
const FRESH: Duration = Duration::from_secs(60);

/// The last answer, and when it was given.
#[derive(Default)]
pub(super) struct ProxyRules(Option<(Instant, Answer)>);

type Answer = Result<BTreeMap<IpAddr, VipRules>, String>;

// === impl ProxyRules ===

impl ProxyRules {
    /// The rules of addresses; none where they cannot be had. They are asked for anew where the last
    /// answer `may_be_wrong`, is old, or does not hold one of them.
    pub(super) fn of(
        &mut self,
        addresses: &[IpAddr],
        may_be_wrong: bool,
    ) -> BTreeMap<IpAddr, VipRules> {
        let known = self.0.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
        let known = known.and_then(|(_, answer)| answer.as_ref().ok());
        let is_good = known.is_some_and(|known| addresses.iter().all(|it| known.contains_key(it)));
        if (may_be_wrong || !is_good) && !addresses.is_empty() {
            let answer = netlink::service_rules(addresses);
            self.0 = Some((Instant::now(), answer.map_err(|error| format!("{error:#}"))));
        }
        let answer = self.0.as_ref().and_then(|(_, answer)| answer.as_ref().ok());
        answer.cloned().unwrap_or_default()
    }

    /// Why there are none.
    pub(super) fn unseen(&self) -> Option<&str> {
        let (_, answer) = self.0.as_ref()?;
        Some(answer.as_ref().err()?)
    }
}
