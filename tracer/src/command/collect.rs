//! Evidence of this node: every collector in turn.

use std::{collections::HashSet, net::IpAddr, path::Path, thread, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use tracer::{
    evidence::{
        Capability, CapabilityState, Evidence, FlannelProcess, Intent, Node, Origin, Roles,
        RouteAnswer, SCHEMA, SubnetEnv, Tables, Window,
    },
    intent::{self, peers_file, subnet_env},
    kernel::{self, Plan},
    netlink,
    process::{self, FlannelWatch},
    statistics::{self, Reading},
    topology::{self, Question, RoleProblem, Topologies},
};

use super::{Failure, observe, probe::probe, unobserved, usage};
use crate::cli::{CheckArgs, NodeArgs};

/// Between two readings of the tables when nothing else is waited for: longer than flannel needs
/// to write the entries of one peer.
const APART: Duration = Duration::from_millis(50);

/// Collects everything that `args` ask for.
pub(super) fn collect(args: &CheckArgs) -> Result<Evidence, Failure> {
    let mut evidence = tables_and_intent(&args.look.node)?;
    let problem = assign_roles(&mut evidence)?;
    // Programs are loaded after this: what rose is of a little more than the window.
    let counters = statistics::read();
    if args.duration.is_zero() {
        evidence.tables_only = true;
        evidence.unseen.push("packets: --duration 0 looks at the tables only".to_owned());
        evidence.capabilities.push(stages_off("--duration 0 asks for the tables only"));
        thread::sleep(APART);
        count(&mut evidence, &counters, statistics::read());
        if args.probe {
            probe(&mut evidence);
        }
        read_again(&mut evidence)?;
        return Ok(evidence);
    }
    if let Some(problem) = problem {
        // Nothing to attach to; what the tables say is judged all the same.
        evidence.capabilities.push(stages_off(&problem.to_string()));
        count(&mut evidence, &counters, statistics::read());
        return Ok(evidence);
    }
    let mut plan = plan(&evidence);
    plan.config.set_dns_timeout(args.look.dns_timeout_milliseconds());
    observe::observe(&mut evidence, &plan, args.duration, args.look.attach);
    count(&mut evidence, &counters, statistics::read());
    ask_for_strangers(&mut evidence)?;
    if args.probe {
        // Behind the window: no stage counts them.
        probe(&mut evidence);
    }
    read_again(&mut evidence)?;
    Ok(evidence)
}

/// Fills in what the kernel's counters rose by between two readings.
pub(super) fn count(evidence: &mut Evidence, since: &Reading, until: Reading) {
    let Evidence { roles, unseen, .. } = evidence;
    evidence.statistics = Some(since.until(until, &roles.uplinks, unseen));
}

/// Reads the tables once more: what is being changed just now is no fault.
fn read_again(evidence: &mut Evidence) -> Result<(), Failure> {
    if evidence.flannel.process == FlannelProcess::None {
        // It may just have been starting anew.
        evidence.flannel = FlannelWatch::new(&mut Vec::new()).find(&mut Vec::new());
    }
    let tables = dump()?;
    second_reading(evidence, tables)
}

/// Takes over the tables as they are after the window, with the kernel's answers.
pub(super) fn second_reading(evidence: &mut Evidence, mut tables: Tables) -> Result<(), Failure> {
    let roles = topology::detect_roles(&tables, &evidence.intent);
    let roles = roles.unwrap_or_else(|_| evidence.roles.clone());
    let traffic = evidence.traffic.as_ref();
    let questions =
        Topologies::from_parts(Some(&tables), &evidence.intent, &roles, traffic).questions();
    tables.answers = ask(&questions)?;
    evidence.tables_after = Some(tables);
    Ok(())
}

fn dump() -> Result<Tables, Failure> {
    netlink::dump_tables().context("reading the kernel's tables by netlink").map_err(unobserved)
}

fn tables_and_intent(args: &NodeArgs) -> Result<Evidence, Failure> {
    let mut unseen = Vec::new();
    let intent = read_intent(args, &mut unseen)?;
    let tables = dump()?;
    let flannel = FlannelWatch::new(&mut unseen).find(&mut unseen);
    Ok(Evidence {
        schema: SCHEMA.to_owned(),
        node: node(args),
        window: Window { start: Timestamp::now(), seconds: 0.0 },
        tables_only: false,
        intent,
        roles: Roles::default(),
        tables: Some(tables),
        tables_after: None,
        traffic: None,
        drops: None,
        vips: None,
        dns: None,
        probes: None,
        statistics: None,
        hooks: Vec::new(),
        capabilities: Vec::new(),
        flannel,
        unseen,
    })
}

/// Who this node is.
pub(super) fn node(args: &NodeArgs) -> Node {
    let platform = args.platform.unwrap_or_else(process::platform);
    Node {
        name: process::node_name(),
        kernel: process::kernel_release(),
        platform,
        vxlan: process::vxlan_module(),
    }
}

pub(super) fn read_intent(args: &NodeArgs, unseen: &mut Vec<String>) -> Result<Intent, Failure> {
    let subnet_env = read_subnet_env(args, unseen)?;
    let peers = match &args.peers {
        Some(path) => peers_file::read(path).map_err(usage)?,
        None => Vec::new(),
    };
    let signs = netlink::netfilter_signs().unwrap_or_else(|error| {
        unseen.push(format!("firewall rules of flannel and of network policies: {error:#}"));
        Default::default()
    });
    let netlink::NetfilterSigns { flannel, policy, policy_elsewhere, services } = signs;
    let intent = Intent {
        subnet_env,
        peers,
        cluster_cidrs: args.cluster_cidr.clone(),
        service_cidrs: args.service_cidr.clone(),
        overlay_option: args.overlay.clone(),
        bridge_option: args.bridge.clone(),
        uplink_options: args.uplink.clone(),
        vips: args.vip.clone(),
        vip_interface_options: args.vip_interface.clone(),
        policy_netfilter: policy,
        policy_elsewhere,
        service_netfilter: services,
        flannel_netfilter: flannel,
    };
    intent::require_consistent(&intent).map_err(usage)?;
    Ok(intent)
}

fn read_subnet_env(
    args: &NodeArgs,
    unseen: &mut Vec<String>,
) -> Result<Option<SubnetEnv>, Failure> {
    let places = match &args.subnet_env {
        Some(path) => vec![path.as_path()],
        None => subnet_env::PLACES.map(Path::new).to_vec(),
    };
    let found = subnet_env::read_first(&places).map_err(usage)?;
    match &found {
        Some(env) => tracing::info!("read {}", env.path.display()),
        None => unseen.push(subnet_env::missing(&places)),
    }
    Ok(found)
}

/// Finds the devices, asks the kernel for the peers' routes, and finds the uplinks by its
/// answers. A node without an overlay device is a problem to report, not a failure.
fn assign_roles(evidence: &mut Evidence) -> Result<Option<RoleProblem>, Failure> {
    let Evidence { tables: Some(tables), intent, .. } = evidence else { return Ok(None) };
    match detect_roles(tables, intent)? {
        Ok(roles) => evidence.roles = roles,
        Err(problem @ (RoleProblem::OtherBackend(_) | RoleProblem::NoFlannel)) => {
            return Ok(Some(problem));
        }
        Err(problem) if problem.exit_status() == 3 => return Err(usage(problem)),
        Err(problem) => return Err(unobserved(problem)),
    }
    Ok(None)
}

/// Finds the devices, and puts the kernel's answers of the routes to the peers into the tables.
pub(super) fn detect_roles(
    tables: &mut Tables,
    intent: &Intent,
) -> Result<Result<Roles, RoleProblem>, Failure> {
    let roles = match topology::detect_roles(tables, intent) {
        Ok(roles) => roles,
        Err(problem) => return Ok(Err(problem)),
    };
    let questions = Topologies::from_parts(Some(tables), intent, &roles, None).questions();
    tables.answers = ask(&questions)?;
    Ok(topology::detect_roles(tables, intent))
}

fn ask(questions: &[Question]) -> Result<Vec<RouteAnswer>, Failure> {
    netlink::ask(questions)
        .context("asking the kernel for the routes to the peers")
        .map_err(unobserved)
}

fn plan(evidence: &Evidence) -> Plan {
    let empty = Tables::default();
    let tables = evidence.tables.as_ref().unwrap_or(&empty);
    kernel::plan(&Topologies::of(evidence), tables)
}

/// Peers that only received packets told of are asked for after the window.
pub(super) fn ask_for_strangers(evidence: &mut Evidence) -> Result<(), Failure> {
    let questions = Topologies::of(evidence).questions();
    let Some(tables) = &mut evidence.tables else { return Ok(()) };
    let asked: HashSet<(IpAddr, bool)> = tables
        .answers
        .iter()
        .map(|answer| (answer.destination, answer.origin == Origin::Pods))
        .collect();
    let new: Vec<Question> = questions
        .into_iter()
        .filter(|question| {
            !asked.contains(&(question.destination, question.origin == Origin::Pods))
        })
        .collect();
    tables.answers.extend(ask(&new)?);
    Ok(())
}

fn stages_off(because: &str) -> Capability {
    Capability {
        feature: "stages".to_owned(),
        state: CapabilityState::Off,
        because: because.to_owned(),
    }
}
