//! A DNS server that a node has itself, as NodeLocal DNS is one: at a link-local address of the node and
//! at the DNS service's, whose packets no connection tracking sees. Healthy it is no fault of the
//! service; that it has ended is told as what it is, and its silence as what is not known.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use tracer_tests::{
    expect,
    fault::{Injection, filter::Chain},
    lab::{LOCK_WAIT, Lab},
    plan::{DNS_NAME, Family, Node, Plan, Stack},
    responder::{Manner, Responder},
    script::{Script, Tool},
    seed::Shape,
    size,
    told::in_labs,
    tracer::{CheckOutput, DNS_TIMEOUT, Intent},
    traffic::{Flow, Limits, Sender, Traffic},
};

/// Longer than a query that is not answered may wait.
const WINDOW: [&str; 4] = ["--duration", "6s", DNS_TIMEOUT, "2s"];
const LONG_WINDOW: [&str; 4] = ["--duration", "10s", DNS_TIMEOUT, "3s"];
const PORT: u16 = 53;
/// Queries a second of one pod.
const RATE: f64 = 10.0;
/// What is said of a server that keeps silent.
const SILENT: &str = "the address is this node's own";

/// Both modes of kube-proxy's rules are the same to it; the DNS service's server is elsewhere.
fn lab(stack: Stack) -> Lab {
    let shape = Shape { nodes: Some(2), stack, bridge_netfilter: true, ..Shape::default() };
    let mut plans = (480..).map(|seed| Plan::draw(seed, &shape));
    let is_meant =
        |plan: &Plan| plan.dns.node != plan.site.victim && plan.victim().pods.iter().len() >= 2;
    Lab::up(plans.find(is_meant).unwrap(), LOCK_WAIT).unwrap()
}

/// The addresses of NodeLocal DNS: what its documentation proposes, and the DNS service's.
fn addresses(plan: &Plan, family: Family) -> [IpAddr; 2] {
    let own = match family {
        Family::V4 => "169.254.20.10",
        Family::V6 => "fd00:90::10",
    };
    [own.parse().unwrap(), plan.dns.cluster_ip.of(family)]
}

/// Gives a node these addresses, and keeps their packets from connection tracking, as NodeLocal DNS
/// does both.
fn gives(plan: &Plan, node: &Node, family: Family) -> Result<Injection> {
    let addresses = addresses(plan, family);
    let bits = family.bits();
    let address = |verb: &str| {
        let lines = addresses.map(|it| format!("address {verb} {it}/{bits} dev lo"));
        Script::ip(&node.namespace, lines)
    };
    let rules = |verb: &str| {
        let rules = addresses.iter().flat_map(|it| {
            [
                format!("{verb} PREROUTING -d {it}/{bits} -p udp -m udp --dport {PORT} -j NOTRACK"),
                format!("{verb} OUTPUT -s {it}/{bits} -p udp -m udp --sport {PORT} -j NOTRACK"),
            ]
        });
        let lines = ["*raw".to_owned()].into_iter().chain(rules).chain(["COMMIT".to_owned()]);
        let tool = if family == Family::V4 { Tool::Iptables } else { Tool::Ip6tables };
        Script::new(tool, Some(&node.namespace), lines)
    };
    let healing = vec![rules("-D"), address("delete")];
    Injection::apply(&[address("add"), rules("-A")], healing)
}

/// Its servers.
fn starts(plan: &Plan, family: Family, manner: Manner) -> Vec<Responder> {
    let start = |address| {
        let at = SocketAddr::new(address, PORT);
        Responder::start(&plan.victim().namespace, at, manner).unwrap()
    };
    addresses(plan, family).map(start).into()
}

/// One pod of the victim asks one address, another the other: a kernel sends an error a second to each.
/// The first asks the DNS service anyway.
fn asks(plan: &Plan, family: Family) -> Traffic {
    let pods = plan.victim().pods.iter();
    let senders = addresses(plan, family).into_iter().rev().zip(pods).map(|(address, pod)| {
        let (server, name) = (SocketAddr::new(address, PORT), DNS_NAME.to_owned());
        let namespace = pod.namespace.clone();
        Sender { namespace, flow: Flow::Dns { server, name }, limits: Limits::steady(RATE) }
    });
    Traffic::start(senders.collect())
}

/// Asks the victim, with the service network and without; what it must find each time.
fn check(lab: &Lab, family: Family, expected: &[(&str, &str)]) -> Result<Vec<CheckOutput>> {
    let network = lab.plan().services.of(family).to_string();
    let options = [&["--service-cidr", network.as_str()][..], &[]]
        .map(|more| [size::of(WINDOW, LONG_WINDOW).as_slice(), more].concat());
    let victim = lab.plan().site.victim;
    let ask = |options: Vec<&str>| {
        let answer = lab.check(victim, Intent::SubnetEnv, &options)?;
        let context = || format!("{options:?}, dns {}", answer.json["dns"]);
        expect::only(expected, &answer).with_context(context)?;
        Ok(answer)
    };
    options.into_iter().map(ask).collect()
}

fn is_said(answer: &CheckOutput) -> bool {
    let unseen = answer.json["unseen"].as_array().into_iter().flatten();
    unseen.filter_map(|line| line.as_str()).any(|line| line.contains(SILENT))
}

fn judge(lab: &Lab, family: Family) -> Result<()> {
    let plan = lab.plan();
    let node = plan.victim();
    let _own = gives(plan, node, family)?;
    let _traffic = [lab.traffic_all_pairs(), asks(plan, family)];
    let names = addresses(plan, family).map(|it| it.to_string());
    let mut closed = names.each_ref().map(|it| ("dns-server-port-closed", it.as_str()));
    // As findings of one code are sorted.
    closed.sort_unstable();

    let servers = starts(plan, family, Manner::default());
    for answer in check(lab, family, &[]).context("healthy")? {
        ensure!(!is_said(&answer), "{}", answer.json["unseen"]);
        let row = |name: &String| {
            let rows = answer.json["dns"].as_array().into_iter().flatten();
            rows.filter(|it| it["server"] == *name).find_map(|it| it["answers"].as_u64())
        };
        ensure!(names.iter().all(|it| row(it) > Some(0)), "{}", answer.json["dns"]);
    }
    let rejecting = format!("udp dport {PORT} reject with icmpx type port-unreachable");
    let chain = Chain::inet("input");
    let filter = Injection::apply(&[chain.with(node, &rejecting)], vec![chain.without(node)])?;
    let rejected = |answers: &[CheckOutput]| answers.iter().all(is_said);
    if expect::reads_drops(&check_once(lab)?) {
        let answers = check(lab, family, &[]).context("a filter refuses in their name")?;
        ensure!(rejected(&answers), "{}", answers[0].json["unseen"]);
    }
    filter.heal()?;

    servers.into_iter().try_for_each(|server| server.end().map(drop))?;
    check(lab, family, &closed).context("they have ended")?;

    let manner = Manner { silent: Some(1), ..Manner::default() };
    let _silent = starts(plan, family, manner);
    for answer in check(lab, family, &[]).context("they keep silent")? {
        ensure!(is_said(&answer), "{}", answer.json["unseen"]);
    }
    Ok(())
}

/// What the victim says in a moment, whatever that is.
fn check_once(lab: &Lab) -> Result<CheckOutput> {
    lab.check(lab.plan().site.victim, Intent::SubnetEnv, &["--duration", "1s"])
}

#[test]
fn a_dns_server_of_the_node_is_told_as_what_it_is() {
    let judged = |lab: &Lab, family| {
        judge(lab, family).err().map_or_else(String::new, |error| format!("{error:#}"))
    };
    in_labs(lab, judged).unwrap();
}
