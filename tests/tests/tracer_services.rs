//! Flows to a service's address, whose packets go on under that of a pod of a peer: told as one, and
//! lost as that peer's.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tracer_tests::{
    expect,
    fault::named,
    lab::{LOCK_WAIT, Lab},
    plan::{DNS_NAME, Family, Plan, Site, Stack},
    seed::Shape,
    size,
    told::in_labs,
    tracer::{CheckOutput, Intent},
    traffic::{Flow, Limits, Sender, Traffic},
};

/// One flow all the time, datagrams a second.
const RATE: f64 = 25.0;
const WINDOW: [&str; 2] = ["--duration", "4s"];
const LONG_WINDOW: [&str; 2] = ["--duration", "6s"];

/// Three nodes, and the server of the DNS service on another than the victim. Addresses of services
/// are translated before pod_out where the bridges hand their packets to iptables, else behind it.
fn lab(stack: Stack, bridge_netfilter: bool) -> Lab {
    let shape = Shape { nodes: Some(3), stack, bridge_netfilter, ..Shape::default() };
    let mut plans = (440..).map(|seed| Plan::draw(seed, &shape));
    let plan = plans.find(|plan| plan.dns.node != plan.site.victim).unwrap();
    Lab::up(plan, LOCK_WAIT).unwrap()
}

/// The victim, and the node of the DNS service's server.
fn site(plan: &Plan, family: Family) -> Site {
    Site { peer: plan.dns.node, family, ..plan.site }
}

/// What is told of the victim in any case: that bridges do not hand their packets to iptables.
fn always(lab: &Lab) -> Vec<(&str, &str)> {
    let plan = lab.plan();
    let told = ("bridge-nf-call-off", plan.victim().bridge.as_str());
    // It is said of IPv4.
    let is_told = !plan.bridge_netfilter && plan.families().contains(&Family::V4);
    if is_told { vec![told] } else { Vec::new() }
}

/// From a pod of the victim to the DNS service.
fn ask_all_the_time(plan: &Plan, family: Family) -> Traffic {
    let (server, name) = (plan.dns_server(family), DNS_NAME.to_owned());
    let namespace = plan.victim().first_pod().unwrap().namespace.clone();
    let flow = Flow::DnsFromOnePort { server, name };
    Traffic::start(vec![Sender { namespace, flow, limits: Limits::steady(RATE) }])
}

fn check(lab: &Lab) -> Result<CheckOutput> {
    let window = size::of(WINDOW, LONG_WINDOW);
    lab.check(lab.plan().site.victim, Intent::PeersFile, &window)
}

/// The flow to the DNS service, and how many are told between its pod and the server's.
fn told(lab: &Lab, family: Family, answer: &CheckOutput) -> Result<(Value, usize)> {
    let plan = lab.plan();
    let pod = plan.victim().first_pod().unwrap().ip.of(family);
    let is = |value: &Value, address: IpAddr| *value == *address.to_string();
    let flows = answer.json["flows"].as_array().context("no flows")?;
    let of_pod = |to: IpAddr| {
        flows.iter().filter(move |it| is(&it["source"], pod) && is(&it["destination"], to))
    };
    let flow = of_pod(plan.dns.cluster_ip.of(family)).next();
    let flow = flow.with_context(|| format!("no flow to the service in {flows:#?}"))?;
    Ok((flow.clone(), of_pod(plan.dns.pod_ip.of(family)).count()))
}

fn is_healthy(lab: &Lab, family: Family, answer: &CheckOutput) -> Result<()> {
    expect::only(&always(lab), answer)?;
    let (flow, of_server) = told(lab, family, answer)?;
    let server = lab.plan().dns.pod_ip.of(family).to_string();
    ensure!(flow["translated_destination"] == *server, "{flow}");
    ensure!(flow["lost_after"].is_null() && of_server == 0, "{flow}, {of_server} to the server");
    for stage in ["pod_out", "overlay_out", "wire_out"] {
        ensure!(flow["packets"][stage].as_u64() > Some(0), "{stage}: {flow}");
    }
    Ok(())
}

/// A fault on the way to the server: this finding alone, about the flow to the service.
fn is_broken(lab: &Lab, family: Family, name: &str) -> Result<()> {
    let site = site(lab.plan(), family);
    let fault = named(name).unwrap();
    let _injection = lab.inject(&fault, site)?;
    let answer = check(lab)?;
    if fault.by_drops && !expect::reads_drops(&answer) {
        return Ok(());
    }
    let expected = fault.here(lab.plan(), site);
    let found = [vec![(expected.code, expected.key.as_str())], always(lab)].concat();
    expect::only(&found, &answer)?;
    let impact = &answer.json["findings"][0]["impact"];
    ensure!(impact["packets"].as_u64() > Some(0) && impact["flows"] == 1, "{impact}");
    let (flow, _) = told(lab, family, &answer)?;
    ensure!(flow["lost_after"] == "pod_out", "{flow}");
    Ok(())
}

fn judge(lab: &Lab, family: Family) -> Result<()> {
    let _traffic = ask_all_the_time(lab.plan(), family);
    let answer = check(lab)?;
    is_healthy(lab, family, &answer).context("before")?;
    for name in ["fw-drops-forwarded-pod-traffic", "pod-route-missing"] {
        is_broken(lab, family, name).context(name)?;
    }
    is_healthy(lab, family, &check(lab)?).context("healed")
}

fn judged(lab: &Lab, family: Family) -> String {
    judge(lab, family).err().map_or_else(String::new, |error| format!("{error:#}"))
}

#[test]
fn a_flow_to_a_service_is_followed_to_the_pod_behind_it() {
    in_labs(|stack| lab(stack, false), judged).unwrap();
}

#[test]
fn a_flow_that_the_stages_know_by_the_pods_address_is_named_after_its_service() {
    in_labs(|stack| lab(stack, true), judged).unwrap();
}
