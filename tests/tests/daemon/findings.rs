//! The life of a finding, from the injection to the repair.

use std::thread;

use serde_json::Value;
use tracer_tests::{
    fault::named,
    lab::Lab,
    plan::Site,
    poll::{poll_true, poll_until},
    tracer::Intent,
};

use super::{OPENS, lab, told, wait_until_all_is_well};

#[test]
fn a_fault_opens_a_finding_and_its_repair_closes_it() {
    // Two nodes with a fault each, that of the third one's entries: most of it is waiting.
    let lab = lab(411, 3);
    let (plan, site) = (lab.plan(), lab.plan().site);
    let is_free = |node: &usize| *node != site.peer;
    let other = plan.others(site.victim).into_iter().find(is_free).unwrap();
    let _traffic = lab.traffic_all_pairs();
    let faults = [
        ("pod-route-missing", site.victim, Intent::SubnetEnv),
        ("fdb-entry-missing", other, Intent::Nothing),
    ];
    thread::scope(|scope| {
        for (name, victim, intent) in faults {
            let lab = &lab;
            scope.spawn(move || opens_and_closes(lab, name, Site { victim, ..site }, intent));
        }
    });
}

fn opens_and_closes(lab: &Lab, name: &str, site: Site, intent: Intent) {
    let plan = lab.plan();
    let daemon = lab.daemon(site.victim, intent, &[]).unwrap();
    let fault = named(name).unwrap();
    let expected = fault.here(plan, site);
    let injection = lab.inject(&fault, site).unwrap();
    poll_until(&format!("{name} to open"), OPENS, || {
        anyhow::ensure!(!told(&daemon, "finding-opened").is_empty(), "{:?}", daemon.events());
        Ok(())
    })
    .unwrap();
    let right = [(expected.code.to_owned(), expected.key.clone())];
    assert_eq!(told(&daemon, "finding-opened"), right);
    let node = &plan.nodes[site.victim].name;
    assert_finding_is_whole(&daemon.events_of("finding-opened")[0], node);
    let sample = format!(
        "finding{{code=\"{}\",severity=\"critical\",subject=\"{}\"}}",
        expected.code, expected.key
    );
    assert_eq!(daemon.scrape().unwrap().value(&sample).unwrap(), 1.0);
    let changes = daemon.events_of("table-change");
    let words = |event: &Value| event["entry"].as_str().unwrap_or_default().to_owned();
    assert!(changes.iter().any(|it| it["action"] == "deleted"), "{changes:#?}");
    println!("{name}: {}", changes.iter().map(words).collect::<Vec<_>>().join("; "));

    injection.heal().unwrap();
    wait_until_all_is_well(&daemon);
    // Events go through a thread of their own, behind what is scraped.
    poll_true("the end to be told", OPENS, || !told(&daemon, "finding-closed").is_empty()).unwrap();
    assert_eq!(told(&daemon, "finding-opened"), right, "nothing else was ever opened");
    assert_eq!(told(&daemon, "finding-closed"), right);
    assert_eq!(daemon.events_of("finding-closed")[0]["reason"], "gone");
    assert_eq!(daemon.scrape().unwrap().get(&sample), None);
}

fn assert_finding_is_whole(event: &Value, node: &str) {
    assert_eq!(event["schema"], "flannel-tracer/event/v1");
    assert_eq!(event["node"], node);
    let finding = &event["finding"];
    for list in ["evidence", "remedy"] {
        assert!(!finding[list].as_array().unwrap().is_empty(), "{finding:#}");
    }
    // The daemon looked before the fault was there.
    assert!(finding["since"]["not_before"].is_string(), "{:#}", finding["since"]);
    assert!(finding["since"]["not_after"].is_string(), "{:#}", finding["since"]);
}
