//! What rare packets tell, where the cause is on another node than the one that tells it: each
//! injected into the peer, and told by the victim of the plan.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use tracer_tests::{
    fault::{Injection, filter::Chain},
    flannel,
    lab::{LOCK_WAIT, Lab},
    lan, netns,
    plan::{Family, Mac, Node, Plan, Stack},
    script::{Script, Tool},
    seed::Shape,
    told::{in_labs, wrong, wrong_unless_one_of},
    traffic::{Flow, Limits, Sender, Traffic},
};

/// A port of VXLAN that is not flannel's.
const OTHER_PORT: u16 = 4789;
/// What a lab's tunnel must have for that port to be looked at.
const FLANNEL_PORT: u16 = 8472;

/// How often the kernel asks a node whose MAC it knows, before it gives it up.
const USUAL: u32 = 3;

/// A cause on one node, and what another says of it.
struct Scene {
    code: &'static str,
    breaks: fn(&Plan, Family) -> Vec<Script>,
    heals: fn(&Plan, Family) -> Vec<Script>,
}

const SCENES: [Scene; 7] = [
    Scene {
        code: "fw-rejects-vxlan",
        breaks: |plan, family| {
            let from = source(plan.victim().ip.of(family).to_string(), family);
            let rule = format!("{from} udp dport {} {REJECT}", plan.port);
            vec![Chain::inet("input").with(plan.peer(), &rule)]
        },
        heals: |plan, _| vec![Chain::inet("input").without(plan.peer())],
    },
    Scene {
        code: "fw-rejects-forwarded-pod-traffic",
        breaks: |plan, family| {
            let from = source(plan.victim().subnet.of(family).to_string(), family);
            let rule = format!("{from} oifname {} {REJECT}", plan.peer().bridge);
            vec![Chain::inet("forward").with(plan.peer(), &rule)]
        },
        heals: |plan, _| vec![Chain::inet("forward").without(plan.peer())],
    },
    Scene {
        code: "vxlan-port-mismatch",
        breaks: |plan, family| {
            let own = format!(" dstport {} ", plan.port);
            remade(plan, family, |it| it.replace(&own, &format!(" dstport {OTHER_PORT} ")))
        },
        heals: |plan, family| remade(plan, family, |line| line),
    },
    Scene {
        code: "vxlan-header-malformed",
        breaks: |plan, family| {
            // The device writes the packet's mark into the header.
            let own = "nolearning";
            let mut scripts = remade(plan, family, |it| it.replace(own, "nolearning gbp"));
            let rule = format!("oifname {} meta mark set 1", plan.overlay(family));
            scripts.push(Chain::inet("postrouting").with(plan.peer(), &rule));
            scripts
        },
        heals: |plan, family| {
            let unmarked = Chain::inet("postrouting").without(plan.peer());
            [vec![unmarked], remade(plan, family, |line| line)].concat()
        },
    },
    Scene {
        code: "fdb-entry-wrong-node",
        breaks: |plan, family| {
            let wrong = plan.victim().ip.of(family);
            vec![Script::bridge(&plan.peer().namespace, [entry_of_third(plan, family, wrong)])]
        },
        heals: |plan, family| {
            let right = third(plan).ip.of(family);
            vec![Script::bridge(&plan.peer().namespace, [entry_of_third(plan, family, right)])]
        },
    },
    Scene {
        code: "peer-vtep-mac-changed",
        breaks: |plan, family| {
            let Mac([.., last]) = plan.peer().vtep_mac.of(family);
            with_mac(plan, family, Mac([0x02, 0, 0x5e, 0, 0x53, last]))
        },
        heals: |plan, family| with_mac(plan, family, plan.peer().vtep_mac.of(family)),
    },
    Scene {
        code: "duplicate-vtep-mac",
        breaks: |plan, family| with_mac(plan, family, plan.victim().vtep_mac.of(family)),
        heals: |plan, family| with_mac(plan, family, plan.peer().vtep_mac.of(family)),
    },
];

const REJECT: &str = "reject with icmpx type admin-prohibited";

#[test]
fn what_a_peer_does_is_told_by_the_packets_that_come_of_it() {
    in_labs(lab, |lab, family| {
        let plan = lab.plan();
        let _traffic = lab.traffic_all_pairs();
        let key = plan.peer().subnet.of(family).to_string();
        let told = SCENES.iter().map(|scene| {
            let (breaks, heals) = ((scene.breaks)(plan, family), (scene.heals)(plan, family));
            let _injection = Injection::apply(&breaks, heals).unwrap();
            wrong(lab, plan.site.victim, &[(scene.code, &key)])
        });
        told.collect()
    })
    .unwrap();
}

/// Nothing tells how long a node has been dead when somebody asks: its MAC may still be known, be
/// asked for, or be given up just then.
#[test]
fn a_node_that_died_is_told_whenever_its_mac_is_given_up() {
    in_labs(lab, |lab, family| {
        let plan = lab.plan();
        let _traffic = lab.traffic_all_pairs();
        let key = plan.peer().subnet.of(family).to_string();
        let expected = ["tunnel-one-way", "peer-node-silent", "peer-node-unreachable-l2"];
        let told = [1, 2, USUAL, 5].map(|seconds| {
            let (dead, alive) = (dead(plan, family, seconds), alive(plan, family));
            let _injection = Injection::apply(&dead, alive).unwrap();
            wrong_unless_one_of(lab, plan.site.victim, &expected.map(|code| (code, &*key)))
        });
        told.concat()
    })
    .unwrap();
}

#[test]
fn connections_that_leave_un_masqueraded_are_told_where_flannel_is_to_masquerade_them() {
    let lab = lab(Stack::V4);
    let plan = lab.plan();
    let victim = plan.victim();
    let pod = victim.first_pod().unwrap();
    // An address of TEST-NET-2 (RFC 5737): the gateway swallows what is for it.
    let to = "198.51.100.7:443".parse().unwrap();
    let limits = Limits::steady(5.0);
    let flow = Flow::TcpExchange { to };
    let _calls = Traffic::start(vec![Sender { namespace: pod.namespace.clone(), flow, limits }]);
    let _traffic = lab.traffic_all_pairs();
    assert_eq!(wrong(&lab, plan.site.victim, &[]), "");
    let flush = ["*nat", "-F FLANNEL-POSTRTG", "COMMIT"].map(str::to_owned);
    Script::new(Tool::Iptables, Some(&victim.namespace), flush).run().unwrap();
    let expected = [("masquerade-rules-missing", victim.name.as_str())];
    assert_eq!(wrong(&lab, plan.site.victim, &expected), "");
}

/// The switch carries nothing between victim and peer, and the victim asks for the peer's MAC for so
/// many seconds before it gives it up.
fn dead(plan: &Plan, family: Family, seconds: u32) -> Vec<Script> {
    let asks = lan::remember(plan.victim(), plan.peer(), family).replace("reachable", "probe");
    let asks = Script::ip(&plan.victim().namespace, [asks]);
    vec![isolated(plan, "on"), ask(plan, family, seconds), asks]
}

fn alive(plan: &Plan, family: Family) -> Vec<Script> {
    vec![isolated(plan, "off"), ask(plan, family, USUAL)]
}

/// How often the victim asks a node whose MAC it knows: once a second.
fn ask(plan: &Plan, family: Family, times: u32) -> Script {
    let version = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let setting = format!("{version}/neigh/{}/ucast_solicit={times}", plan.victim().uplink);
    Script::new(Tool::Sysctl, Some(&plan.victim().namespace), [setting])
}

/// Isolated ports of a bridge reach all others but one another.
fn isolated(plan: &Plan, state: &str) -> Script {
    let line = |node: &Node| format!("link set dev {} isolated {state}", node.name);
    Script::bridge(netns::SWITCH, [plan.victim(), plan.peer()].map(line))
}

/// Three nodes whose tunnels use flannel's own port.
fn lab(stack: Stack) -> Lab {
    let shape = Shape { nodes: Some(3), stack, ..Shape::default() };
    let plan = (430..).map(|seed| Plan::draw(seed, &shape)).find(|it| it.port == FLANNEL_PORT);
    Lab::up(plan.unwrap(), LOCK_WAIT).unwrap()
}

fn source(network: String, family: Family) -> String {
    format!("{} saddr {network}", family.word())
}

fn third(plan: &Plan) -> &Node {
    let mut others = plan.others(plan.site.victim).into_iter();
    &plan.nodes[others.find(|it| *it != plan.site.peer).unwrap()]
}

/// The peer's overlay device anew, with another line that makes it.
fn remade(plan: &Plan, family: Family, change: impl Fn(String) -> String) -> Vec<Script> {
    flannel::remade(plan, plan.peer(), family, change)
}

/// The peer's overlay device has this MAC, and all entries for its peers.
fn with_mac(plan: &Plan, family: Family, mac: Mac) -> Vec<Script> {
    let peer = plan.peer();
    let line = format!("link set {} address {mac}", plan.overlay(family));
    let mut scripts = vec![Script::ip(&peer.namespace, [line])];
    scripts.extend(flannel::peers(plan, peer, family));
    scripts
}

/// The peer's FDB entry for the third node, with any destination.
fn entry_of_third(plan: &Plan, family: Family, to: std::net::IpAddr) -> String {
    let (mac, overlay) = (third(plan).vtep_mac.of(family), plan.overlay(family));
    format!("fdb replace {mac} dev {overlay} dst {to} self permanent")
}
