//! The life of a finding, from the injection to the repair.

use serde_json::Value;
use tracer_tests::{
    fault::named,
    poll::{poll_true, poll_until},
    tracer::Intent,
};

use super::{OPENS, lab, told, wait_until_all_is_well};

#[test]
fn a_fault_opens_a_finding_and_its_repair_closes_it() {
    for (seed, name, intent) in
        [(411, "pod-route-missing", Intent::SubnetEnv), (412, "fdb-entry-missing", Intent::Nothing)]
    {
        let lab = lab(seed, 3);
        let (plan, site) = (lab.plan(), lab.plan().site);
        let _traffic = lab.traffic_all_pairs();
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
        assert_finding_is_whole(&daemon.events_of("finding-opened")[0], &plan.victim().name);
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
        poll_true("the end to be told", OPENS, || !told(&daemon, "finding-closed").is_empty())
            .unwrap();
        assert_eq!(told(&daemon, "finding-opened"), right, "nothing else was ever opened");
        assert_eq!(told(&daemon, "finding-closed"), right);
        assert_eq!(daemon.events_of("finding-closed")[0]["reason"], "gone");
        assert_eq!(daemon.scrape().unwrap().get(&sample), None);
    }
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
