//! `cargo xtask lab`: a flannel cluster in network namespaces, to break and heal by hand.

mod record;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, value_parser};
use tracer_tests::drawing;
use tracer_tests::fault::{self, Fault};
use tracer_tests::lab::Lab;
use tracer_tests::lookalike::{self, LookAlike};
use tracer_tests::netns;
use tracer_tests::plan::{Family, FlannelRules, Node, Plan, Site, Stack, UplinkKind};
use tracer_tests::seed::{self, Shape};
use tracer_tests::state;

/// A flannel cluster in network namespaces, to break and heal by hand.
#[derive(Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring a lab up and leave it running
    Up {
        /// What the lab is drawn from; another one each time when not given
        #[arg(long)]
        seed: Option<u64>,
        /// The number of nodes; drawn when not given
        #[arg(long, value_parser = value_parser!(u8).range(1..=5))]
        nodes: Option<u8>,
        /// flannel writes its rules by nftables instead of iptables
        #[arg(long)]
        flannel_nftables: bool,
        /// What the cluster speaks
        #[arg(long, value_enum, default_value_t)]
        stack: Stack,
        /// Uplinks without Ethernet, as with a VPN
        #[arg(long)]
        tun: bool,
    },
    /// Take the lab down, and remove what a killed one has left
    Down,
    /// Break a node of the running lab
    Fault {
        /// One of the faults that `list` shows
        name: String,
        /// The node to break, e.g. n2; the seed's choice when not given
        #[arg(long)]
        node: Option<String>,
        /// The peer that it concerns, e.g. n1
        #[arg(long)]
        peer: Option<String>,
        /// The family to break in a lab of both; the seed's choice when not given
        #[arg(long, value_enum)]
        family: Option<Family>,
    },
    /// Heal all faults of the running lab
    Heal,
    /// Show faults, healthy look-alikes, and the running lab
    List,
    Record(record::RecordArgs),
}

pub(crate) fn run(args: LabArgs) -> Result<ExitCode> {
    match args.action {
        Action::Up { seed, nodes, flannel_nftables, stack, tun } => {
            let flannel_rules =
                if flannel_nftables { FlannelRules::Nftables } else { FlannelRules::Iptables };
            let uplink = if tun { UplinkKind::Tun } else { UplinkKind::Ethernet };
            let nodes = nodes.map(usize::from);
            up(seed, &Shape { nodes, stack, flannel_rules, uplink, ..Shape::default() })?;
        }
        Action::Down => {
            Lab::down()?;
            println!("no lab is up");
        }
        Action::Fault { name, node, peer, family } => {
            break_node(&name, node.as_deref(), peer.as_deref(), family)?;
        }
        Action::Heal => heal()?,
        Action::List => list()?,
        Action::Record(args) => record::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(seed: Option<u64>, shape: &Shape) -> Result<()> {
    let plan = Plan::draw(seed.unwrap_or_else(seed::random), shape);
    let lab = Lab::up(plan.clone(), Duration::ZERO)?;
    lab.keep()?;
    print!("{}", drawing::draw(&plan));
    print_ways_in(&plan);
    println!("take it down with: cargo xtask lab down");
    Ok(())
}

fn break_node(
    name: &str,
    node: Option<&str>,
    peer: Option<&str>,
    family: Option<Family>,
) -> Result<()> {
    let fault = fault::named(name)?;
    let mut lab = Lab::attach()?;
    let site = site(lab.plan(), node, peer)?;
    let site = Site { family: family.unwrap_or(site.family), ..site };
    lab.inject_and_leave(&fault, site)?;
    let expected = fault.here(lab.plan(), site);
    println!("{}", fault.story(lab.plan(), site));
    println!("the tracer there should say: {} {}", expected.code, expected.key);
    println!("heal it with: cargo xtask lab heal");
    Ok(())
}

fn heal() -> Result<()> {
    let mut lab = Lab::attach()?;
    let healed = lab.heal()?;
    lab.wait_connected(&lab.plan().all_nodes())?;
    println!("{}", if healed { "healed: all pods reach each other" } else { "nothing to heal" });
    Ok(())
}

fn list() -> Result<()> {
    let faults = fault::all().into_iter().chain(fault::of_layer3());
    let faults: Vec<Fault> = faults.chain(fault::services::of_services()).collect();
    let look_alikes = lookalike::all();
    let names = faults.iter().map(|it| it.name).chain(look_alikes.iter().map(|it| it.name));
    let width = names.map(str::len).max().unwrap_or_default();
    println!("faults, for `cargo xtask lab fault` and `cargo xtask demo`:");
    for Fault { name, summary, .. } in faults {
        println!("  {name:width$}  {summary}");
    }
    println!("healthy look-alikes, for `cargo xtask demo`:");
    for LookAlike { name, summary, .. } in look_alikes {
        println!("  {name:width$}  {summary}");
    }
    match state::kept()? {
        None => println!("no lab is up: cargo xtask lab up"),
        Some(kept) => {
            print!("{}", drawing::draw(&kept.plan));
            print_ways_in(&kept.plan);
        }
    }
    Ok(())
}

fn print_ways_in(plan: &Plan) {
    println!("enter a node, or let the tracer look at it:");
    for node in &plan.nodes {
        let enter = format!("nsenter --net={}", netns::path(&node.namespace).display());
        println!("  {}  {enter} bash", node.name);
        println!("      {enter} env NODE_NAME={} {}", node.name, check_command(node));
    }
}

fn check_command(node: &Node) -> String {
    let (subnet_env, peers) = (state::subnet_env_path(node), state::peers_path(node));
    format!(
        "target/release/flannel-tracer check --subnet-env {} --peers {}",
        subnet_env.display(),
        peers.display()
    )
}

/// The plan's site, moved to the named nodes. A victim that is the plan's peer gets the plan's
/// victim as its peer.
fn site(plan: &Plan, node: Option<&str>, peer: Option<&str>) -> Result<Site> {
    let index = |name: &str| {
        let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
        plan.node_named(&format!("n{}", name.trim_start_matches('n')))
            .with_context(|| format!("no node {name}; there are: {}", names.join(", ")))
    };
    let victim = node.map_or(Ok(plan.site.victim), index)?;
    let other = if victim == plan.site.peer { plan.site.victim } else { plan.site.peer };
    Ok(Site { victim, peer: peer.map_or(Ok(other), index)?, ..plan.site })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::draw(1, &Shape { nodes: Some(3), ..Shape::default() })
    }

    #[test]
    fn without_names_the_seed_chooses() {
        assert_eq!(site(&plan(), None, None).unwrap(), plan().site);
    }

    #[test]
    fn every_node_can_be_named_with_and_without_its_letter() {
        for index in 0..3 {
            let number = (index + 1).to_string();
            let chosen = site(&plan(), Some(&number), None).unwrap();
            assert_eq!(chosen.victim, index);
            assert_ne!(chosen.peer, index);
            assert_eq!(site(&plan(), Some(&format!("n{number}")), None).unwrap(), chosen);
        }
    }

    #[test]
    fn an_unknown_node_is_refused_with_the_known_ones() {
        let error = site(&plan(), Some("n9"), None).unwrap_err().to_string();
        assert!(error.contains("n1, n2, n3"), "{error}");
    }
}
