//! A whole lab: brought up from a plan, taken down on drop.

mod ready;

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::geteuid;

use crate::{
    fault::{Fault, Injection},
    flannel, flanneld, lan,
    lookalike::LookAlike,
    netfilter, netns, node,
    plan::{Node, Plan, Site},
    pod,
    poll::poll_until,
    script::{Script, run_all},
    state::{self, Kept, Lock},
    teardown,
    traffic::{self, Flow, Limits, Stop, Traffic},
};

/// How long a suite waits for another lab on the machine to end.
pub const LOCK_WAIT: Duration = Duration::from_secs(300);

/// A running lab. Dropping it takes it down, unless it was [kept](Lab::keep).
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    /// Given back last.
    _lock: Lock,
    kept: Option<Kept>,
}

// === impl Lab ===

impl Lab {
    /// Brings a lab up and waits until every pod reaches every other. What a killed lab left
    /// behind is removed first. `patience` is how long to wait for another lab to end.
    ///
    /// # Errors
    /// Without root; when another lab runs or was left running; when a tool is missing or refuses.
    pub fn up(mut plan: Plan, patience: Duration) -> Result<Self> {
        need_root()?;
        plan.bridge_netfilter &= node::kernel_has_bridge_netfilter();
        let lock = poll_until("the machine to be free for a lab", patience, lock_without_lab)?;
        teardown::on_signals()?;
        teardown::own(true);
        {
            let _gate = teardown::gate();
            teardown::remove_everything().context("what an earlier lab left behind")?;
        }
        let lab = Self { plan, _lock: lock, kept: None };
        let seed = lab.plan.seed;
        // On an error the half-built lab is dropped, and so removed.
        lab.build().with_context(|| format!("cannot build the lab of seed {seed}"))?;
        ready::wait(&lab.plan).with_context(|| format!("the lab of seed {seed} does not work"))?;
        Ok(lab)
    }

    /// The lab that was left running by [`Lab::keep`]. Dropping it leaves it running.
    ///
    /// # Errors
    /// When there is none, or somebody else works on it.
    pub fn attach() -> Result<Self> {
        need_root()?;
        let lock = state::lock(Duration::ZERO)?;
        let kept = state::kept()?.context("no lab is up: run `cargo xtask lab up`")?;
        Ok(Self { plan: kept.plan.clone(), _lock: lock, kept: Some(kept) })
    }

    /// Removes the lab that was left running, and what a killed lab left behind.
    ///
    /// # Errors
    /// When somebody else works on it, or something cannot be removed.
    pub fn down() -> Result<()> {
        need_root()?;
        let _lock = state::lock(Duration::ZERO)?;
        teardown::remove_everything()
    }

    /// Leaves the lab running for [`Lab::attach`] and [`Lab::down`].
    ///
    /// # Errors
    /// When its description cannot be written.
    pub fn keep(mut self) -> Result<()> {
        let kept = Kept { plan: self.plan.clone(), heal: Vec::new() };
        state::keep(&kept)?;
        self.kept = Some(kept);
        teardown::own(false);
        Ok(())
    }

    /// How it was built.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Injects a fault; the guard heals it.
    ///
    /// # Errors
    /// When it cannot be injected: in a lab of one node, a fault that needs a peer.
    pub fn inject(&self, fault: &Fault, site: Site) -> Result<Injection> {
        fault.inject(&self.plan, site)
    }

    /// Injects a fault into a lab that was left running; [`Lab::heal`] heals it.
    ///
    /// # Errors
    /// As [`Lab::inject`], and when the lab is not one that was left running.
    pub fn inject_and_leave(&mut self, fault: &Fault, site: Site) -> Result<()> {
        let kept = self.kept.as_mut().ok_or_else(|| anyhow!("this lab ends with its program"))?;
        // Written first: a fault that is half injected can be healed.
        kept.heal.splice(0..0, fault.healing(&self.plan, site)?);
        state::keep(kept)?;
        fault.inject(&self.plan, site)?.leave();
        Ok(())
    }

    /// Heals all faults that were left in a lab, the latest first. True when there were any.
    ///
    /// # Errors
    /// When the lab was changed by hand so that an entry cannot be restored.
    pub fn heal(&mut self) -> Result<bool> {
        let kept = self.kept.as_mut().ok_or_else(|| anyhow!("this lab ends with its program"))?;
        let heal = std::mem::take(&mut kept.heal);
        run_all(&heal).context("cannot heal: run `cargo xtask lab down` and `lab up`")?;
        state::keep(kept)?;
        Ok(!heal.is_empty())
    }

    /// Sets up a healthy look-alike for the rest of the lab's life, and starts its own traffic. The
    /// lab's plan must be of the look-alike's shape.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub fn set_up(&self, look_alike: &LookAlike) -> Result<Traffic> {
        let name = look_alike.name;
        run_all(&(look_alike.changes)(&self.plan)).with_context(|| format!("set up {name}"))?;
        state::write_intent(&self.plan, &(look_alike.members)(&self.plan))?;
        Ok(Traffic::start((look_alike.traffic)(&self.plan)))
    }

    /// Starts steady traffic between all nodes; dropping it stops it.
    #[must_use]
    pub fn traffic_all_pairs(&self) -> Traffic {
        self.traffic_among(&self.plan.all_nodes())
    }

    /// Starts steady traffic between some nodes; dropping it stops it.
    #[must_use]
    pub fn traffic_among(&self, nodes: &[usize]) -> Traffic {
        Traffic::start(traffic::all_pairs(&self.plan, nodes))
    }

    /// Waits until the nodes `among` reach each other's pods and the DNS service.
    ///
    /// # Errors
    /// The first pair that does not, when the deadline of [`Lab::up`] has passed.
    pub fn wait_connected(&self, among: &[usize]) -> Result<()> {
        ready::wait_among(&self.plan, among)
    }

    /// Sends `count` packets of a flow from a namespace, one after the other, and says how many
    /// were answered.
    ///
    /// # Errors
    /// When they cannot be sent at all.
    pub fn answered(&self, namespace: &str, flow: &Flow, count: u64) -> Result<u64> {
        let limits = Limits::exactly(count, 100.0);
        netns::run_in(namespace, || Ok(flow.generate(limits, &Stop::default())?.answered))
    }

    fn build(&self) -> Result<()> {
        let plan = &self.plan;
        state::create()?;
        state::write_intent(plan, &plan.all_nodes())?;
        netns::create(&plan.namespaces())?;
        run_all(&lan::no_waiting(plan))?;
        lan::plain_host(netns::SWITCH).run()?;
        lan::build(plan)?;
        run_all(&lan::hosts(plan))?;
        thread::scope(|scope| {
            let builders: Vec<_> =
                plan.nodes.iter().map(|node| scope.spawn(move || build_node(plan, node))).collect();
            builders.into_iter().try_for_each(|builder| {
                builder.join().map_err(|_| anyhow!("building a node panicked"))?
            })
        })?;
        pod::start_dns(plan)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept.is_some() {
            return;
        }
        let _gate = teardown::gate();
        if let Err(error) = teardown::remove_everything() {
            eprintln!("the lab could not be removed: {error:#}; run `cargo xtask lab down`");
        }
        teardown::own(false);
    }
}

/// In flanneld's order: the device comes up before anything is written that hangs on it.
fn build_node(plan: &Plan, node: &Node) -> Result<()> {
    let device_lines = [
        node::uplink(plan, node),
        flannel::devices(plan, node),
        node::bridge(plan, node),
        node::pod_ports(plan, node),
    ];
    node::settings(plan, node).run()?;
    if node::kernel_has_bridge_netfilter() {
        node::bridge_netfilter(plan, node).run()?;
    }
    run_all(&lan::layer3::rules(plan, node))?;
    Script::ip(&node.namespace, device_lines.concat()).run()?;
    run_all(&flannel::all_peers(plan, node))?;
    run_all(&netfilter::scripts(plan, node))?;
    flanneld::start(&node.name)?;
    for pod in &node.pods {
        run_all(&pod::scripts(plan, node, pod))?;
        pod::start_services(pod)?;
    }
    Ok(())
}

/// The lock, on a machine where no lab was left running.
fn lock_without_lab() -> Result<Lock> {
    let lock = state::try_lock()?;
    match state::kept()? {
        Some(kept) => {
            bail!("a lab of seed {} is up: run `cargo xtask lab down` first", kept.plan.seed)
        }
        None => Ok(lock),
    }
}

fn need_root() -> Result<()> {
    if !geteuid().is_root() {
        bail!("the lab needs root for network namespaces: run it as root, e.g. with sudo")
    }
    Ok(())
}
