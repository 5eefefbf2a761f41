//! What the exporters print, on evidence built by hand.

mod vips;

use anstream::adapter::strip_str;
use serde_json::{Value, json};

use super::{json as json_format, text};
use crate::{
    diagnose::{
        Severity, diagnose, exit_status,
        testing::{Pass, Plan, UPLINK, dropped_to, flow_of, judge, mac, peer_traffic, tables},
    },
    evidence::{
        Capability, CapabilityState, Drop, DropFlow, Drops, Evidence, Flow, Platform, StageCounts,
    },
    filter::FlowFilter,
    topology::nth_address,
};

/// A node of three whose FDB entry for the last peer is gone.
fn broken(platform: Platform) -> (Plan, Evidence) {
    let plan = Plan::of(3, Pass::PeersFile);
    let mut evidence = plan.evidence();
    evidence.node.platform = platform;
    let hit = mac(plan.hit());
    tables(&mut evidence).fdb.retain(|entry| entry.mac != hit);
    let traffic = peer_traffic(&mut evidence, plan.hit_cidr()).unwrap();
    traffic.packets = StageCounts { pod_out: 42, overlay_out: 42, ..StageCounts::default() };
    traffic.early = StageCounts { pod_out: 20, overlay_out: 20, ..StageCounts::default() };
    traffic.lost.overlay_to_wire = 42;
    traffic.lost_early.overlay_to_wire = 20;
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    flows.retain(|flow| !plan.hit_cidr().contains(&flow.source));
    for flow in flows.iter_mut().filter(|flow| plan.hit_cidr().contains(&flow.destination)) {
        flow.packets = StageCounts { pod_out: 42, overlay_out: 42, ..StageCounts::default() };
    }
    judge(&mut evidence);
    (plan, evidence)
}

fn text_of(evidence: &Evidence) -> String {
    let diagnosis = diagnose(evidence);
    let status = exit_status(&diagnosis, evidence, Severity::Warning);
    strip_str(&text::render(&diagnosis, evidence, status)).to_string()
}

fn json_of(evidence: &Evidence) -> Value {
    json_of_chosen(evidence, None)
}

fn json_of_chosen(evidence: &Evidence, filter: Option<&FlowFilter>) -> Value {
    let text = json_format::render(&diagnose(evidence), evidence, filter).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_text_of_a_broken_node() {
    let (_, evidence) = broken(Platform::K3sAgent);
    let expected = "\
node n1  192.168.77.11  pods 10.244.1.0/24  kernel 6.12.48  overlay flannel.1 (VNI 1, UDP 8472) via
            eth0  [k3s agent]
CRITICAL  fdb-entry-missing  No FDB entry for 10.244.2.0/24 (n2, 192.168.77.12)
  since     not after 12:00:00 UTC (before this check); not before 11:43:20 UTC, 16 min 40 s ago
  impact    42 packets of 1 flow in 5.0 s; breaks: packets of 10.244.2.0/24 after overlay_out
  evidence  the neighbour 10.244.2.0 of flannel.1 has the MAC 0a:00:00:00:07:02
            the FDB of flannel.1 has no entry for 0a:00:00:00:07:02 nor a default one
  repair    systemctl restart k3s-agent  (flannel does not restore FDB entries by itself)
peers     2: n0 ok (traffic both ways) · n2 BROKEN (above)
not seen  ";
    let text = text_of(&evidence);
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with("\n1 finding, 5.0 s, exit 1\n"), "{text}");
}

#[test]
fn a_subnet_file_in_another_place_is_named() {
    let (_, mut evidence) = broken(Platform::Kubeadm);
    let other = "by /proc/1/root/run/flannel/subnet.env";
    assert!(!text_of(&evidence).contains("subnet.env"));
    evidence.intent.subnet_env = Plan::of(3, Pass::SubnetEnv).evidence().intent.subnet_env;
    assert!(!text_of(&evidence).contains("by /"), "the usual place needs no word");
    evidence.intent.subnet_env.as_mut().unwrap().path = other[3..].into();
    assert!(text_of(&evidence).contains(other));
}

#[test]
fn no_line_of_text_is_longer_than_100_columns() {
    for platform in [Platform::Kubeadm, Platform::Talos, Platform::Rke2Agent, Platform::Unknown] {
        let (_, mut evidence) = broken(platform);
        evidence.node.name = "ip-10-0-13-37.eu-central-1.compute.internal".to_owned();
        for line in text_of(&evidence).lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

#[test]
fn a_long_command_goes_on_after_a_backslash() {
    let (_, evidence) = broken(Platform::Kubeadm);
    let text = text_of(&evidence);
    let command =
        text.split("  repair    ").nth(1).unwrap().split("\n            (").next().unwrap();
    let joined = command.replace(" \\\n            ", " ");
    assert_eq!(
        joined,
        "kubectl -n kube-flannel delete pod --field-selector spec.nodeName=n1 -l app=flannel"
    );
}

#[test]
fn the_text_is_the_same_every_time() {
    let (_, evidence) = broken(Platform::Talos);
    assert_eq!(text_of(&evidence), text_of(&evidence.clone()));
}

#[test]
fn more_than_twenty_peers_are_counted() {
    let plan = Plan::of(30, Pass::SubnetEnv);
    let text = text_of(&plan.evidence());
    assert!(text.contains("\npeers     29: 29 ok\n"), "{text}");
}

#[test]
fn a_healthy_node_says_so() {
    let text = text_of(&Plan::of(1, Pass::Tables).evidence());
    assert!(text.contains("\npeers     none known\n"), "{text}");
    assert!(text.ends_with("\nno finding, 5.0 s, exit 0\n"), "{text}");
}

#[test]
fn every_key_of_the_contract_is_there() {
    let (_, evidence) = broken(Platform::Kubeadm);
    let json = json_of(&evidence);
    for (object, keys) in [
        (
            "",
            "schema node window interfaces capabilities coverage stages flows peers drops dns vips \
             flannel findings unseen self truncated",
        ),
        ("/node", "name ip pod_cidrs kernel platform"),
        ("/window", "start seconds"),
        ("/interfaces/0", "role name ifindex mac mtu state vni port attached"),
        ("/coverage", "tables stages drops peers_total peers_verified peers_unverified daemon"),
        ("/stages", "pod_out overlay_out wire_out wire_in overlay_in pod_in leak host"),
        ("/stages/leak", "packets bytes"),
        (
            "/flows/0",
            "source destination translated_destination protocol source_port destination_port \
             packets lost_after answered_by source_pod destination_pod",
        ),
        ("/flows/0/packets", "pod_out overlay_out wire_out wire_in overlay_in pod_in"),
        ("/peers/0", "key node_ip name pod_cidrs vtep_mac family packets last_seen state alive"),
        ("/peers/0/packets", "overlay_out wire_out wire_in overlay_in"),
        ("/flannel", "process pid since memory_bytes memory_limit_bytes oom_kills last_oom"),
        (
            "/findings/0",
            "code severity confidence title subject since impact breaks evidence remedy",
        ),
        ("/findings/0/subject", "kind key peer cidr vtep_mac interface address"),
        ("/findings/0/since", "time not_before not_after precision changed_by"),
        ("/findings/0/impact", "packets flows"),
        ("/self", "parse_errors slow_parse events_lost flow_evictions map_insert_failures"),
        ("/truncated", "flows"),
    ] {
        let found = json.pointer(object).and_then(Value::as_object).expect(object);
        let mut found: Vec<&str> = found.keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = keys.split_whitespace().collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{object}");
    }
}

#[test]
fn the_values_of_a_broken_node() {
    let (plan, evidence) = broken(Platform::K3sServer);
    let json = json_of(&evidence);
    assert_eq!(json["schema"], "flannel-tracer/check/v1");
    assert_eq!(json["node"]["ip"], "192.168.77.11");
    assert_eq!(json["node"]["platform"], "k3s-server");
    assert_eq!(json["coverage"]["stages"], true);
    assert_eq!(json["coverage"]["peers_verified"], 1);
    let finding = &json["findings"][0];
    assert_eq!(finding["code"], "fdb-entry-missing");
    assert_eq!(finding["severity"], "critical");
    assert_eq!(finding["confidence"], "certain");
    assert_eq!(finding["subject"]["kind"], "peer");
    assert_eq!(finding["subject"]["key"], plan.hit_cidr().to_string());
    assert_eq!(finding["subject"]["cidr"], plan.hit_cidr().to_string());
    assert_eq!(finding["subject"]["interface"], "flannel.1");
    assert_eq!(finding["since"]["precision"], "bounded");
    assert_eq!(finding["since"]["not_after"], "2026-01-01T12:00:00Z");
    assert_eq!(finding["impact"]["flows"], 1);
    let lost = json["flows"].as_array().unwrap().iter().find(|it| it["lost_after"] != Value::Null);
    assert_eq!(lost.unwrap()["lost_after"], "overlay_out");
    assert_eq!(lost.unwrap()["answered_by"], Value::Null);
}

#[test]
fn a_flow_is_answered_by_the_source_of_its_reverse() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    evidence.intent.service_cidrs = vec!["10.96.0.0/12".parse().unwrap()];
    let pod = nth_address(plan.own_cidr(), 9);
    let server = nth_address(plan.hit_cidr(), 5);
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    let flow = |source, destination, ports: (u16, u16), protocol| {
        flow_of(
            DropFlow {
                source,
                destination,
                protocol,
                source_port: ports.0,
                destination_port: ports.1,
            },
            StageCounts { pod_out: 3, ..StageCounts::default() },
        )
    };
    flows.push(flow(pod, "10.96.0.10".parse().unwrap(), (5000, 53), 17));
    flows.push(flow(server, pod, (53, 5000), 17));
    flows.push(flow(pod, server, (8 << 8, 77), 1));
    flows.push(flow(server, pod, (0, 77), 1));
    let json = json_of(&evidence);
    let answered: Vec<(&str, &str)> = json["flows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["answered_by"] == server.to_string())
        .map(|it| (it["protocol"].as_str().unwrap(), it["destination"].as_str().unwrap()))
        .collect();
    let server = server.to_string();
    assert_eq!(answered, [("tcp", &*server), ("udp", "10.96.0.10"), ("icmp", &server)]);
}

/// A flow to a service and what it is called behind it are one, as far as that is certain.
#[test]
fn a_flow_to_a_service_is_told_with_what_became_of_it() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    let pod = nth_address(plan.own_cidr(), 9);
    let server = nth_address(plan.hit_cidr(), 5);
    let service = "10.96.0.10".parse().unwrap();
    let traffic = evidence.traffic.as_mut().unwrap();
    let sent = traffic.flows.iter().find(|it| it.source == pod).unwrap().clone();
    let asked = Flow {
        destination: service,
        protocol: 17,
        destination_port: 53,
        packets: StageCounts { pod_out: 9, ..StageCounts::default() },
        translated_destination: Some(server),
        translated_port: Some(5353),
        ..sent
    };
    let arrived = StageCounts { overlay_out: 9, wire_out: 8, ..StageCounts::default() };
    let then = Flow {
        destination: server,
        destination_port: 5353,
        packets: arrived,
        translated_destination: None,
        translated_port: None,
        ..asked.clone()
    };
    let answer = Flow {
        source: server,
        destination: pod,
        source_port: 5353,
        destination_port: asked.source_port,
        ..then.clone()
    };
    traffic.flows = vec![asked, then, answer];
    let json = json_of(&evidence);
    let flows = json["flows"].as_array().unwrap();
    let of_service = flows.iter().find(|it| it["destination"] == "10.96.0.10").unwrap();
    assert_eq!(of_service["translated_destination"], server.to_string());
    assert_eq!(of_service["destination_port"], 53);
    assert_eq!(of_service["answered_by"], server.to_string());
    let packets = ["pod_out", "overlay_out", "wire_out"].map(|it| &of_service["packets"][it]);
    assert_eq!(packets, [9, 9, 8]);
    assert_eq!(flows.len(), 2, "{flows:#?}");
    // Not followed, both are told as they were seen.
    evidence.traffic.as_mut().unwrap().flows[0].translated_port = None;
    let json = json_of(&evidence);
    assert_eq!(json["flows"].as_array().unwrap().len(), 3);
    assert_eq!(json["truncated"]["flows"], 0);
}

/// Where already the first stage sees the pod's address.
#[test]
fn a_flow_that_was_sent_to_a_service_is_told_with_both_addresses() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    let server = nth_address(plan.hit_cidr(), 5);
    let flows = &mut evidence.traffic.as_mut().unwrap().flows;
    let flow = flows.iter_mut().find(|it| it.destination == server).unwrap();
    flow.asked_as = Some("10.96.0.10:53".parse().unwrap());
    let json = json_of(&evidence);
    let flows = json["flows"].as_array().unwrap();
    let told = flows.iter().find(|it| it["destination"] == "10.96.0.10").unwrap();
    assert_eq!(told["translated_destination"], server.to_string());
    assert_eq!((&told["destination_port"], &told["packets"]["wire_out"]), (&53.into(), &40.into()));
}

#[test]
fn arrays_hold_100_entries_and_say_what_is_left_out() {
    let plan = Plan::of(2, Pass::Tables);
    let mut evidence = plan.evidence();
    let traffic = evidence.traffic.as_mut().unwrap();
    let one = traffic.flows[0].clone();
    traffic.flows = (0..150).map(|port| Flow { source_port: port, ..one.clone() }).collect();
    traffic.flows_left_out = 4000;
    let json = json_of(&evidence);
    assert_eq!(json["flows"].as_array().unwrap().len(), 100);
    assert_eq!(json["truncated"]["flows"], 4050);
}

#[test]
fn with_a_filter_only_what_is_meant_is_listed_and_all_is_judged() {
    let (plan, mut evidence) = broken(Platform::Kubeadm);
    let entries =
        vec![dropped_to(53, 7), dropped_to(80, 5), Drop { flow: None, ..dropped_to(1, 4) }];
    evidence.drops = Some(Drops { entries, headers_read: true, ..Drops::default() });
    let all = json_of(&evidence);
    let chosen = |filter: &str| json_of_chosen(&evidence, Some(&filter.parse().unwrap()));
    let number = |json: &Value, list: &str| json[list].as_array().unwrap().len();

    let dns = chosen("port=53 protocol=udp");
    assert_eq!(dns["drops"].as_array().unwrap()[..], all["drops"].as_array().unwrap()[..1]);
    for judged in ["findings", "peers", "stages", "unseen", "coverage"] {
        assert_eq!(dns[judged], all[judged], "{judged}");
    }

    let peer = chosen(&format!("peer={}", plan.cidr(0)));
    assert_eq!(number(&peer, "drops"), 0);
    assert!(number(&peer, "flows") > 0 && number(&peer, "flows") < number(&all, "flows"));
    // Answers are sought among all flows.
    let one_way = chosen(&format!("source={}", plan.own_cidr()));
    for flow in one_way["flows"].as_array().unwrap() {
        assert!(all["flows"].as_array().unwrap().contains(flow), "{flow:#}");
    }
    assert_eq!(one_way["truncated"], all["truncated"]);
}

#[test]
fn exit_status_follows_what_was_found_and_seen() {
    let status = |evidence: &Evidence, fail_on| exit_status(&diagnose(evidence), evidence, fail_on);
    let healthy = Plan::of(2, Pass::Tables).evidence();
    assert_eq!(status(&healthy, Severity::Warning), 0);

    let mut detached = healthy.clone();
    detached.hooks.iter_mut().filter(|hook| hook.ifindex == UPLINK).for_each(|hook| {
        hook.attached = false;
    });
    assert_eq!(status(&detached, Severity::Warning), 2);
    detached.hooks.iter_mut().for_each(|hook| hook.ifindex = 99);
    assert_eq!(status(&detached, Severity::Warning), 2, "hooks of devices that are gone");

    let mut unwatched = healthy.clone();
    unwatched.traffic = None;
    assert_eq!(status(&unwatched, Severity::Warning), 2);
    unwatched.window.seconds = 0.0;
    assert_eq!(status(&unwatched, Severity::Warning), 2, "no privileges for the stages");
    unwatched.tables_only = true;
    assert_eq!(status(&unwatched, Severity::Warning), 0, "only the tables were asked for");
    unwatched.tables = None;
    assert_eq!(status(&unwatched, Severity::Warning), 2);

    let mut lossy = healthy;
    let cidr = Plan::of(2, Pass::Tables).hit_cidr();
    let traffic = peer_traffic(&mut lossy, cidr).unwrap();
    (traffic.lost.wire_to_overlay, traffic.lost_early.wire_to_overlay) = (9, 4);
    assert_eq!(status(&lossy, Severity::Warning), 1);
    assert_eq!(status(&lossy, Severity::Critical), 0);
    let (_, broken) = broken(Platform::Kubeadm);
    assert_eq!(status(&broken, Severity::Critical), 1);
}

#[test]
fn drops_are_listed_to_the_hundredth_and_their_coverage_is_told() {
    let mut evidence = Plan::of(2, Pass::Tables).evidence();
    assert_eq!(json_of(&evidence)["coverage"]["drops"], "off");
    assert!(json_of(&evidence)["unseen"].to_string().contains("drops: not observed"));
    let drop = Drop {
        reason: Some("NO_TX_TARGET".to_owned()),
        symbol: None,
        interface: Some("flannel.1".to_owned()),
        ..dropped_to(53, 7)
    };
    let entries = vec![drop; 130];
    evidence.drops = Some(Drops { entries, left_out: 5, headers_read: true, ..Drops::default() });
    let json = json_of(&evidence);
    assert_eq!(json["drops"].as_array().unwrap().len(), 100);
    assert_eq!(json["truncated"]["drops"], 35);
    assert_eq!(
        json["drops"][0],
        json!({"cause": "unexplained", "reason": "NO_TX_TARGET", "symbol": null,
            "interface": "flannel.1", "where": "node", "packets": 7, "outer": null,
            "flow": {"source": "10.244.1.9", "destination": "10.244.2.5", "protocol": "udp",
                "source_port": 40_000, "destination_port": 53}})
    );
    assert_eq!(json["coverage"]["drops"], "on");
    assert!(!json["unseen"].to_string().contains("drops: "));
    evidence.capabilities.push(Capability {
        feature: "drop-flows".to_owned(),
        state: CapabilityState::Degraded,
        because: "lockdown".to_owned(),
    });
    assert_eq!(json_of(&evidence)["coverage"]["drops"], "degraded");
}
