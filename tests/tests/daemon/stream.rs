//! `watch`: drops and findings as they come.

use std::{
    io::Read as _,
    net::IpAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tracer_tests::{
    attached::Attached,
    daemon::{Daemon, END},
    fault::named,
    lab::Lab,
    less,
    poll::{poll_true, poll_until},
    process, size,
    tracer::{Intent, tracer_command},
};

use super::{CLOSES, OPENS, lab, told, warnings};

/// Several windows.
const QUIET: &str = "20s";
/// The start of a tracer, several windows, and its end.
const QUIET_AT_MOST: Duration = Duration::from_secs(60);
/// The start of a tracer on a busy machine, and a look at the reader.
const NOTICED: Duration = Duration::from_secs(25);
const KEYS: [&str; 8] =
    ["cause", "reason", "symbol", "interface", "where", "packets", "flow", "outer"];

/// Whether this kernel shows what it drops, and whose packets these were.
fn shows_drops(lab: &Lab, node: usize) -> bool {
    let check = lab.check(node, Intent::SubnetEnv, &["--duration", "1s"]).unwrap();
    let coverage = check.json["coverage"]["drops"].clone();
    println!("drops are {coverage}");
    coverage == "on"
}

/// The lines of a text watch.
fn lines(watch: &Daemon) -> Vec<String> {
    let text = |event: Value| event.as_str().map(str::to_owned);
    watch.events().into_iter().filter_map(text).collect()
}

fn drops_of<'a>(events: &'a [Value], cause: &str) -> Vec<&'a Value> {
    let drops = events.iter().map(|event| &event["drop"]);
    drops.filter(|drop| drop["cause"] == cause).collect()
}

/// Ends it by a signal, and sees that this is its only end.
fn end(watch: Daemon, signal: Signal) {
    let ended = watch.end_by(signal).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    assert!(ended.said.contains(signal.as_str()), "{}", ended.said);
    assert!(!ended.said.contains("panicked"), "{}", ended.said);
}

#[test]
fn a_fault_is_streamed_with_what_it_drops_in_both_forms() {
    let lab = lab(461, 3);
    let (plan, site) = (lab.plan(), lab.plan().site);
    let attached = || Attached::on(plan, plan.victim()).unwrap();
    let before = attached();
    let _traffic = lab.traffic_all_pairs();
    let shows_drops = shows_drops(&lab, site.victim);
    let fault = named("fdb-entry-missing").unwrap();
    let expected = fault.here(plan, site);
    let right = [(expected.code.to_owned(), expected.key.clone())];
    let other = plan.others(site.victim).into_iter().find(|node| *node != site.peer).unwrap();
    let of = |node: usize| format!("peer={}", plan.nodes[node].subnet.of(site.family));

    let watch = |extra: &[&str]| lab.watch_events(site.victim, Intent::SubnetEnv, extra).unwrap();
    let json = watch(&["--format", "json"]);
    let text = watch(&[]);
    let hit = watch(&["--format", "json", "--flow", &of(site.peer)]);
    let elsewhere = watch(&["--format", "json", "--flow", &of(other)]);
    assert_ne!(attached(), before);

    let injection = lab.inject(&fault, site).unwrap();
    poll_until("the fault to be told", OPENS, || {
        for watch in [&json, &hit] {
            ensure!(told(watch, "finding-opened") == right, "{:?}", watch.events());
            let is_there = !drops_of(&watch.events(), expected.code).is_empty();
            ensure!(is_there || !shows_drops, "no drop in {:?}", watch.events());
        }
        let lines = lines(&text);
        let opened = format!("opened  {} of {}", expected.code, expected.key);
        ensure!(lines.iter().any(|line| line.ends_with(&opened)), "{lines:#?}");
        let drop = format!("  {}  ", expected.code);
        let is_drop = |line: &String| line.contains("UTC  drop  ") && line.contains(&drop);
        ensure!(!shows_drops || lines.iter().any(is_drop), "{lines:#?}");
        Ok(())
    })
    .unwrap();
    let lines = lines(&text);
    assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:#?}");
    println!("{} lines, the first: {}", lines.len(), lines[0]);
    assert_events_keep_the_contract(&json, &plan.victim().name);
    let events = hit.events();
    // Several drops that are told together are of no flow.
    let drops = drops_of(&events, expected.code);
    for drop in drops.into_iter().filter(|drop| !drop["flow"].is_null()) {
        let subnet = plan.nodes[site.peer].subnet.of(site.family);
        let ends = ["source", "destination"].map(|end| drop["flow"][end].as_str().unwrap());
        let is_there = |end: &str| subnet.contains(&end.parse::<IpAddr>().unwrap());
        assert!(ends.into_iter().any(is_there), "{drop}");
    }
    assert_check_lists_what_is_asked_for(&lab, expected.code);

    injection.heal().unwrap();
    poll_true("the finding to close", CLOSES, || told(&json, "finding-closed") == right).unwrap();
    assert_eq!(told(&json, "finding-opened"), right, "nothing else was ever opened");
    // What was dropped between the reads of flows and of places may be of any flow, and is said so.
    // Queries to a server on a node that is cut off are lost on other nodes too.
    let is_told = |event: &Value| {
        event["kind"] != "dns-timeout"
            && (event["kind"] != "lost" || event["source"] != "drop-flows")
    };
    let told: Vec<Value> = elsewhere.events().into_iter().filter(is_told).collect();
    assert!(told.is_empty(), "{told:#?}");
    end(json, Signal::SIGTERM);
    end(text, Signal::SIGINT);
    // Where filters of tc are used, one that is killed leaves its own.
    end(hit, Signal::SIGTERM);
    end(elsewhere, Signal::SIGTERM);
    poll_true("nothing to be attached", END, || attached() == before).unwrap();
}

fn assert_events_keep_the_contract(watch: &Daemon, node: &str) {
    for event in watch.events() {
        assert_eq!(event["schema"], "flannel-tracer/event/v1", "{event}");
        assert_eq!((&event["node"], event["time"].is_string()), (&node.into(), true), "{event}");
        assert!(event["count"].as_u64() >= Some(1), "{event}");
        let kind = event["kind"].as_str().unwrap();
        let kinds = ["finding-opened", "finding-closed", "drop", "dns-timeout"];
        assert!(kinds.contains(&kind), "{event}");
        if kind == "drop" {
            let drop = event["drop"].as_object().unwrap();
            assert!(KEYS.iter().all(|key| drop.contains_key(*key)), "{event}");
            assert!(drop["packets"].as_u64() >= Some(1), "{event}");
        }
    }
}

/// `check --flow` lists less, judges the same and says so.
fn assert_check_lists_what_is_asked_for(lab: &Lab, code: &str) {
    let site = lab.plan().site;
    let subnet = lab.plan().nodes[site.peer].subnet.of(site.family).to_string();
    let filter = format!("destination={subnet} protocol=udp");
    let arguments = ["--duration", "2s", "--flow", &filter];
    let check = lab.check(site.victim, Intent::SubnetEnv, &arguments).unwrap();
    assert_eq!(check.findings().iter().map(|it| it.0).collect::<Vec<_>>(), [code]);
    let flows = check.json["flows"].as_array().unwrap();
    assert!(!flows.is_empty() && flows.iter().all(|flow| flow["protocol"] == "udp"), "{flows:#?}");
    let drops = check.json["drops"].as_array().unwrap();
    assert!(drops.iter().all(|drop| drop["flow"]["protocol"] == "udp"), "{drops:#?}");
    assert!(check.json["unseen"].to_string().contains(&filter), "{:#}", check.json["unseen"]);
}

#[test]
fn a_healthy_node_streams_nothing_until_its_time_is_over() {
    let lab = lab(462, 3);
    let _traffic = lab.traffic_all_pairs();
    let watch = |format: &str| {
        let extra = ["--format", format, "--duration", QUIET];
        lab.watch_events(lab.plan().site.victim, Intent::Nothing, &extra).unwrap()
    };
    for watch in [watch("json"), watch("text")] {
        let (ended, events) = watch.wait(QUIET_AT_MOST).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        assert!(ended.said.contains("the time is over"), "{}", ended.said);
        assert!(events.is_empty(), "{events:#?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let lab = lab(463, 2);
    let node = &lab.plan().nodes[0];
    let attached = || Attached::on(lab.plan(), node).unwrap();
    let before = attached();
    let mut command = tracer_command(node).unwrap();
    command.args(["watch", "--format", "json"]).args(Intent::SubnetEnv.options(node));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = process::start(&node.namespace, &mut command).unwrap();
    poll_true("programs to be attached", NOTICED, || attached() != before).unwrap();
    drop(child.stdout.take());
    let status = poll_until("the watch to end", size::patience(NOTICED), || {
        child.try_wait()?.context("it still runs")
    })
    .unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), warnings(&said)), (Some(0), vec![]));
    assert_eq!(attached(), before);
}

#[test]
fn without_drops_it_says_so_once_and_streams_findings() {
    let lab = lab(464, 2);
    let (plan, site) = (lab.plan(), lab.plan().site);
    let _traffic = lab.traffic_all_pairs();
    // Without the kernel's types drops cannot be read.
    let json = ["--format", "json"];
    let hide = |command: &mut std::process::Command| {
        less::types(command);
    };
    let watch = lab.watch_events_with(site.victim, Intent::SubnetEnv, &json, hide).unwrap();
    let fault = named("fdb-entry-missing").unwrap();
    let expected = fault.here(plan, site);
    let injection = lab.inject(&fault, site).unwrap();
    poll_true("the finding", OPENS, || !told(&watch, "finding-opened").is_empty()).unwrap();
    assert_eq!(told(&watch, "finding-opened"), [(expected.code.to_owned(), expected.key)]);
    assert_eq!(watch.events_of("drop").len(), 0);
    assert_eq!(watch.said().matches("not seen: drops").count(), 1, "{}", watch.said());
    injection.heal().unwrap();
    end(watch, Signal::SIGTERM);
}
