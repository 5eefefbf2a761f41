//! What is wrong with the node that has the VIP, and what only looks so.

use super::*;
use tracer_tests::{
    capabilities::is_confidential,
    fault::{filter::Chain, named},
    netfilter,
    plan::{Family, ProxyRules, Site},
};

/// A lab, and the node that has the VIP.
fn lab_and_owner(seed: u64) -> (Lab, usize) {
    lab_and_owner_with(seed, ProxyRules::Iptables)
}

fn lab_and_owner_with(seed: u64, proxy_rules: ProxyRules) -> (Lab, usize) {
    let lab = lab_like(seed, Shape { proxy_rules, ..Shape::default() });
    let owner = lab.plan().lan.vip_owner;
    (lab, owner)
}

/// The client knows the owner's MAC, as after its answer.
fn client_knows(lab: &Lab, owner: usize) {
    let (vip, mac) = (lab.plan().lan.vip.v4, lab.plan().nodes[owner].uplink_mac);
    let entry = format!("neigh replace {vip} lladdr {mac} dev eth0 nud permanent");
    Script::ip(netns::CLIENT, [entry]).run().unwrap();
}

/// The client opens connections to the web service behind the VIP.
fn browse(plan: &Plan) -> Sender {
    Sender {
        namespace: netns::CLIENT.to_owned(),
        flow: Flow::TcpExchange { to: (plan.lan.vip.v4, 80).into() },
        limits: Limits::steady(2.0),
    }
}

/// What all nodes say while a client browses and the owner announces the VIP, and whether the client
/// was served.
fn while_browsing(lab: &Lab, owner: usize) -> (Vec<CheckOutput>, bool) {
    while_browsing_and(lab, owner, || {})
}

/// The same, with something done again and again.
fn while_browsing_and(lab: &Lab, owner: usize, act: impl Fn()) -> (Vec<CheckOutput>, bool) {
    let plan = lab.plan();
    let announcing = Sender { limits: Limits::steady(1.0), ..announce(plan, owner, 1) };
    let traffic = Traffic::start(vec![announcing, browse(plan)]);
    let answers = thread::scope(|scope| {
        let checks = scope.spawn(|| check_all(lab, "8s"));
        // Whenever the window begins, it is done in it.
        while !checks.is_finished() {
            act();
            silence(17);
        }
        checks.join().unwrap()
    });
    let counts = traffic.stop().unwrap();
    let served = counts.iter().find(|(it, _)| matches!(it.flow, Flow::TcpExchange { .. }));
    (answers, served.unwrap().1.answered > 0)
}

/// The owner tells this of the VIP, the others nothing.
fn assert_told_by(owner: usize, code: &str, lab: &Lab, answers: &[CheckOutput]) {
    let vip = lab.plan().lan.vip.v4.to_string();
    for (node, output) in answers.iter().enumerate() {
        let expected = if node == owner { vec![(code, vip.as_str())] } else { Vec::new() };
        assert_eq!(output.findings(), expected, "n{}: {}", node + 1, output.json);
    }
}

/// The same of what is dropped; where the kernel keeps from root what it drops, that is said instead.
fn assert_drop_is_told_by(owner: usize, lab: &Lab, answers: &[CheckOutput]) {
    if !is_confidential().unwrap() {
        assert_told_by(owner, "vip-answered-but-policy-drops", lab, answers);
        return;
    }
    assert_nothing(answers);
    let unseen = answers[owner].json["unseen"].as_array().unwrap().iter();
    let mut unseen = unseen.filter_map(Value::as_str);
    assert!(
        unseen.any(|it| it.starts_with("flows of dropped packets: ")),
        "{}",
        answers[owner].json
    );
}

fn assert_nothing(answers: &[CheckOutput]) {
    for output in answers {
        assert_eq!(output.findings(), [], "{}", output.json);
    }
}

#[test]
fn an_owner_without_kube_proxys_rule_sends_clients_back_and_tells_it() {
    is_told_without_rules(516, ProxyRules::Iptables);
}

#[test]
fn an_owner_without_kube_proxys_entry_in_nftables_sends_clients_back_and_tells_it() {
    is_told_without_rules(526, ProxyRules::Nftables);
}

fn is_told_without_rules(seed: u64, proxy_rules: ProxyRules) {
    let (lab, owner) = lab_and_owner_with(seed, proxy_rules);
    client_knows(&lab, owner);
    let (answers, is_served) = while_browsing(&lab, owner);
    assert!(is_served, "with the rule the client is served");
    assert_nothing(&answers);
    netfilter::without_web(lab.plan(), &lab.plan().nodes[owner], Family::V4).run().unwrap();
    let (answers, is_served) = while_browsing(&lab, owner);
    assert!(!is_served);
    assert_told_by(owner, "vip-answered-but-no-service-rules", &lab, &answers);
}

#[test]
fn an_owner_without_a_local_endpoint_drops_what_clients_send_and_tells_it() {
    is_told_without_local_endpoint(517, ProxyRules::Iptables);
}

#[test]
fn an_owner_whose_nftables_drop_what_wants_a_local_endpoint_tells_it() {
    is_told_without_local_endpoint(527, ProxyRules::Nftables);
}

fn is_told_without_local_endpoint(seed: u64, proxy_rules: ProxyRules) {
    let (lab, owner) = lab_and_owner_with(seed, proxy_rules);
    client_knows(&lab, owner);
    let node = &lab.plan().nodes[owner];
    if proxy_rules == ProxyRules::Iptables {
        netfilter::without_web(lab.plan(), node, Family::V4).run().unwrap();
    }
    netfilter::without_local_web(lab.plan(), node, Family::V4).run().unwrap();
    let (answers, is_served) = while_browsing(&lab, owner);
    assert!(!is_served);
    assert_drop_is_told_by(owner, &lab, &answers);
}

/// A lab in which the pod behind the VIP is on another node than the VIP, and these two nodes.
fn lab_owner_and_backend(seed: u64) -> (Lab, usize, usize) {
    let has_pods = |plan: &Plan| plan.nodes.iter().position(|it| it.first_pod().is_some());
    let shape = Shape { nodes: Some(3), ..Shape::default() };
    let seeds = (seed..).map(|seed| (seed, Plan::draw(seed, &shape)));
    let is_elsewhere =
        |(_, plan): &(u64, Plan)| has_pods(plan).is_some_and(|it| it != plan.lan.vip_owner);
    let (seed, plan) = seeds.take(100).find(is_elsewhere).unwrap();
    let (lab, owner) = lab_and_owner(seed);
    (lab, owner, has_pods(&plan).unwrap())
}

#[test]
fn a_vip_whose_pod_is_behind_a_lost_route_is_among_what_that_breaks() {
    let (lab, owner, backend) = lab_owner_and_backend(530);
    client_knows(&lab, owner);
    let _traffic = lab.traffic_all_pairs();
    let (answers, is_served) = while_browsing(&lab, owner);
    assert!(is_served);
    assert_nothing(&answers);
    let site = Site { victim: owner, peer: backend, ..lab.plan().site };
    let fault = named("pod-route-missing").unwrap();
    let _injection = lab.inject(&fault, site).unwrap();
    let (answers, is_served) = while_browsing(&lab, owner);
    assert!(!is_served);
    for (node, output) in answers.iter().enumerate() {
        let findings = output.json["findings"].as_array().unwrap();
        let is_its = |it: &&Value| it["breaks"].to_string().contains("\"vip ");
        let broken: Vec<&Value> = findings.iter().filter(is_its).collect();
        if node != owner {
            assert_eq!(broken, Vec::<&Value>::new(), "n{}", node + 1);
            continue;
        }
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding["code"], fault.code);
        let vip = format!("vip {}", lab.plan().lan.vip.v4);
        assert!(finding["breaks"].as_array().unwrap().contains(&vip.into()), "{}", output.json);
    }
}

/// The owner's kernel would answer for the VIP, but for a setting.
fn keep_back(lab: &Lab, owner: usize) {
    own(lab, owner);
    let node = &lab.plan().nodes[owner];
    netns::run_in(&node.namespace, || {
        let path = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", node.uplink);
        Ok(std::fs::write(path, "1")?)
    })
    .unwrap();
}

#[test]
fn an_owner_whose_kernel_keeps_the_vip_back_tells_it_where_a_client_asks_in_vain() {
    let (lab, owner) = lab_and_owner(518);
    keep_back(&lab, owner);
    assert_nothing(&check_all(&lab, "3s"));
    let asking = Traffic::start(vec![ping(lab.plan())]);
    let answers = check_all(&lab, "7s");
    asking.stop().unwrap();
    let vip = lab.plan().lan.vip.v4.to_string();
    for (node, output) in answers.iter().enumerate() {
        let code = match node == owner {
            true => "vip-arp-suppressed-by-sysctl",
            false => "vip-arp-unanswered",
        };
        assert_eq!(output.findings(), [(code, vip.as_str())], "n{}: {}", node + 1, output.json);
    }
}

#[test]
fn an_owner_whose_filter_drops_clients_behind_kube_proxy_tells_it() {
    let (lab, owner) = lab_and_owner(519);
    own(&lab, owner);
    let plan = lab.plan();
    // The client has to ask for the VIP in the window: that makes it one of its clients.
    let forget = format!("neigh flush {} dev eth0", plan.lan.vip.v4);
    let matches = format!("ip saddr {} ip daddr {}", plan.lan.client.v4, plan.cluster.v4);
    let dropping = Chain::inet("forward").dropping(&plan.nodes[owner], &matches).unwrap();
    let (answers, is_served) = while_browsing_and(&lab, owner, || {
        Script::ip(netns::CLIENT, [forget.clone()]).run().unwrap();
    });
    assert!(!is_served);
    assert_drop_is_told_by(owner, &lab, &answers);
    dropping.heal().unwrap();
    let (answers, is_served) = while_browsing(&lab, owner);
    assert!(is_served);
    assert_nothing(&answers);
}
