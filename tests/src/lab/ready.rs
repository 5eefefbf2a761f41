//! Waits until a new lab works: every pod reaches every other, and the DNS service answers.

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, bail};

use crate::{
    netns,
    plan::{DNS_NAME, ECHO_PORT, Family, Plan, Pod},
    poll::poll_until,
    traffic::{Flow, Limits, Stop},
};

/// How long a new lab may take until everything answers.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn wait(plan: &Plan) -> Result<()> {
    wait_among(plan, &plan.all_nodes())
}

pub(super) fn wait_among(plan: &Plan, among: &[usize]) -> Result<()> {
    let pods: Vec<&Pod> = among.iter().flat_map(|node| &plan.nodes[*node].pods).collect();
    let asks_dns = among.contains(&plan.dns.node) && !plan.nodes[plan.dns.node].pods.is_empty();
    thread::scope(|scope| {
        let waiters: Vec<_> = pods
            .iter()
            .map(|from| {
                let flows_of = |family: &Family| flows_of(plan, from, &pods, asks_dns, *family);
                let flows: Vec<Flow> = plan.families().iter().flat_map(flows_of).collect();
                scope.spawn(move || netns::run_in(&from.namespace, || wait_for(from, &flows)))
            })
            .collect();
        waiters
            .into_iter()
            .try_for_each(|it| it.join().map_err(|_| anyhow!("a waiting thread panicked"))?)
    })
}

/// What a pod must be able to do in a family: ping and UDP to all other pods, DNS.
fn flows_of(plan: &Plan, from: &Pod, pods: &[&Pod], asks_dns: bool, family: Family) -> Vec<Flow> {
    let others = || pods.iter().filter(|to| to.name != from.name);
    let ping = |to: &&Pod| Flow::Ping { to: to.ip.of(family), ttl: 64 };
    let mut flows: Vec<Flow> = others().map(ping).collect();
    flows.extend(others().map(|to| Flow::UdpEcho { to: to.at(family, ECHO_PORT) }));
    // A pod that asks itself by the service address would need hairpin mode on its bridge port.
    if asks_dns && from.ip != plan.dns.pod_ip {
        flows.push(Flow::Dns { server: plan.dns_server(family), name: DNS_NAME.to_owned() });
    }
    flows
}

fn wait_for(from: &Pod, flows: &[Flow]) -> Result<()> {
    let stop = Stop::default();
    flows.iter().try_for_each(|flow| {
        poll_until(&format!("{flow:?} from {}", from.name), DEADLINE, || {
            match flow.generate(Limits::exactly(1, 1.0), &stop)?.answered {
                0 => bail!("no answer"),
                _ => Ok(()),
            }
        })
    })
}
