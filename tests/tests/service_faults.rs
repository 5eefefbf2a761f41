//! Services that nobody serves: told on the node where it is so, and on those that can tell; nothing
//! anywhere else. Where nothing says which addresses are services', what to check is told and no cause.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use anyhow::{Context as _, Result, ensure};
use tracer_tests::{
    expect,
    fault::{Fault, filter::Chain, services::of_services},
    lab::{LOCK_WAIT, Lab},
    lookalike,
    plan::{Family, Plan, ProxyRules, Site, Stack},
    seed::Shape,
    size,
    told::in_labs,
    tracer::{CheckOutput, DNS_TIMEOUT, Intent},
};

/// Longer than a query that is not answered may wait.
const WINDOW: [&str; 4] = ["--duration", "5s", DNS_TIMEOUT, "2s"];
const LONG_WINDOW: [&str; 4] = ["--duration", "10s", DNS_TIMEOUT, "3s"];
/// What a node says that cannot ask for connections without changing something.
const UNASKED: &str = "to which pods the addresses of services lead";
/// The look-alikes of these faults.
const LOOK_ALIKES: [&str; 4] =
    ["service-scaled-down", "far-resolver-silent", "outside-resolver-rejected", "closed-port-53"];

/// Three nodes, and the DNS server on another than the victim.
fn lab(stack: Stack, proxy_rules: ProxyRules, bridge_netfilter: bool) -> Lab {
    let shape = Shape { nodes: Some(3), stack, proxy_rules, bridge_netfilter, ..Shape::default() };
    let mut plans = (460..).map(|seed| Plan::draw(seed, &shape));
    let plan = plans.find(|plan| plan.dns.node != plan.site.victim).unwrap();
    Lab::up(plan, LOCK_WAIT).unwrap()
}

/// Asks all nodes, with the service network or without.
fn check(lab: &Lab, services: Option<Family>) -> Result<Vec<CheckOutput>> {
    let network = services.map(|family| lab.plan().services.of(family).to_string());
    let mut options = size::of(WINDOW, LONG_WINDOW).to_vec();
    options.extend(network.iter().flat_map(|it| ["--service-cidr", it.as_str()]));
    lab.check_all(&lab.plan().all_nodes(), Intent::SubnetEnv, &options)
}

/// What is told of a node in any case: that its bridge does not hand its packets to iptables.
fn always(plan: &Plan, node: usize) -> Vec<(&str, &str)> {
    let told = ("bridge-nf-call-off", plan.nodes[node].bridge.as_str());
    let is_told = !plan.bridge_netfilter && plan.families().contains(&Family::V4);
    if is_told { vec![told] } else { Vec::new() }
}

fn says(answer: &CheckOutput, words: &str) -> bool {
    let unseen = answer.json["unseen"].as_array().into_iter().flatten();
    unseen.filter_map(|line| line.as_str()).any(|line| line.contains(words))
}

/// Whether a node can tell that nothing translates the address of DNS: by the table of connections, or,
/// where kube-proxy drops what is for nobody's address, by what is dropped.
fn sees_missing_rules(plan: &Plan, answer: &CheckOutput) -> bool {
    match plan.proxy_rules {
        ProxyRules::Iptables => !says(answer, UNASKED),
        ProxyRules::Nftables => expect::reads_drops(answer),
    }
}

/// The finding on the nodes that can tell, and nothing on the others.
fn is_told(lab: &Lab, fault: &Fault, site: Site) -> Result<()> {
    let plan = lab.plan();
    let expected = fault.here(plan, site);
    for (node, answer) in check(lab, Some(site.family))?.iter().enumerate() {
        let is_seen = fault.code != "dns-service-rules-missing" || sees_missing_rules(plan, answer);
        let is_everywhere = fault.code == "dns-server-port-closed";
        let is_here = is_everywhere || node == site.victim && is_seen;
        let own = (expected.code, expected.key.as_str());
        let mut found = always(plan, node);
        let place = usize::from(fault.severity.name() == "warning" && !found.is_empty());
        if is_here {
            found.insert(place, own);
        }
        let servers = &answer.json["dns"];
        let name = &plan.nodes[node].name;
        expect::only(&found, answer).with_context(|| format!("on {name}, dns {servers}"))?;
    }
    Ok(())
}

/// What to check on the victim, and no cause anywhere.
fn is_open_without_services(lab: &Lab, site: Site) -> Result<()> {
    let plan = lab.plan();
    for (node, answer) in check(lab, None)?.iter().enumerate() {
        expect::only(&always(plan, node), answer)?;
        let is_blind = plan.proxy_rules == ProxyRules::Nftables && !expect::reads_drops(answer);
        let is_open = says(answer, "--service-cidr") || says(answer, UNASKED) || is_blind;
        ensure!(is_open || node != site.victim, "{}", answer.json["unseen"]);
    }
    Ok(())
}

fn judge(lab: &Lab, family: Family) -> Result<()> {
    let _traffic = lab.traffic_all_pairs();
    let plan = lab.plan();
    let nothing = |answers: Vec<CheckOutput>| {
        let mut answers = answers.iter().enumerate();
        answers.try_for_each(|(node, answer)| expect::only(&always(plan, node), answer))
    };
    nothing(check(lab, Some(family))?).context("before")?;
    for fault in of_services() {
        let is_of_server = fault.code == "dns-server-port-closed";
        let victim = if is_of_server { plan.dns.node } else { plan.site.victim };
        let site = Site { victim, family, ..plan.site };
        let injection = lab.inject(&fault, site).context(fault.name)?;
        is_told(lab, &fault, site).context(fault.name)?;
        if !is_of_server {
            is_open_without_services(lab, site)
                .with_context(|| format!("{} without a service network", fault.name))?;
        }
        injection.heal()?;
    }
    nothing(check(lab, Some(family))?).context("healed")
}

fn judged(lab: &Lab, family: Family) -> String {
    judge(lab, family).err().map_or_else(String::new, |error| format!("{error:#}"))
}

#[test]
fn services_that_nobody_serves_are_told_where_kube_proxy_writes_for_iptables() {
    in_labs(|stack| lab(stack, ProxyRules::Iptables, true), judged).unwrap();
}

#[test]
fn the_same_where_it_writes_for_nftables() {
    in_labs(|stack| lab(stack, ProxyRules::Nftables, false), judged).unwrap();
}

#[test]
fn queries_that_a_filter_drops_before_kube_proxy_gets_them_lack_no_rules() {
    let lab = lab(Stack::V4, ProxyRules::Nftables, false);
    let plan = lab.plan();
    let _traffic = lab.traffic_all_pairs();
    let victim = plan.site.victim;
    let _dropping = Chain::before_nat().dropping(&plan.nodes[victim], "udp dport 53").unwrap();
    for (node, answer) in check(&lab, Some(Family::V4)).unwrap().iter().enumerate() {
        expect::only(&always(plan, node), answer).unwrap();
        let is_said = says(answer, "before kube-proxy");
        assert_eq!(is_said, node == victim && expect::reads_drops(answer), "{}", answer.json);
    }
}

#[test]
fn what_resembles_them_is_not_told_where_the_service_network_is_known_either() {
    for name in LOOK_ALIKES {
        let look_alike = lookalike::named(name).unwrap();
        let lab = lab(Stack::V4, ProxyRules::Iptables, true);
        let _traffic = lab.traffic_all_pairs();
        let _own = lab.set_up(&look_alike).unwrap();
        for answer in check(&lab, Some(Family::V4)).unwrap() {
            expect::nothing_wrong(look_alike.infos, &answer).context(name).unwrap();
        }
    }
}
