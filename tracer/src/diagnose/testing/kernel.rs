//! What collectors would see of changed tables: roles, the kernel's answers, hooks.

use std::net::IpAddr;

use crate::{
    evidence::{Evidence, Hook, HookDirection, RouteAnswer, RouteKind, RouteOutcome, Rule, Tables},
    topology::{Topologies, detect_roles},
};

/// Asks again what collectors ask: roles, route answers, hooks. To be called after every change.
pub(crate) fn observe(evidence: &mut Evidence) {
    let intent = evidence.intent.clone();
    let Some(tables) = &mut evidence.tables else { return };
    tables.answers.clear();
    let roles = detect_roles(tables, &intent).unwrap();
    let traffic = evidence.traffic.as_ref();
    let topology = Topologies::from_parts(Some(tables), &intent, &roles, traffic);
    tables.answers = topology
        .questions()
        .into_iter()
        .map(|question| RouteAnswer {
            destination: question.destination,
            origin: question.origin,
            outcome: look_up(tables, question.destination),
        })
        .collect();
    evidence.roles = detect_roles(tables, &intent).unwrap();
    let roles = &evidence.roles;
    let devices = roles.overlays().chain(roles.bridge).chain(roles.uplinks.clone());
    evidence.hooks = devices
        .flat_map(|index| [HookDirection::Ingress, HookDirection::Egress].map(|it| (index, it)))
        .map(|(index, direction)| Hook {
            interface: tables.link(index).unwrap().name.clone(),
            ifindex: index,
            direction,
            attached: true,
            because: "tcx".to_owned(),
            foreign: Vec::new(),
        })
        .collect();
}

/// A kernel that asks the tables in the order of the rules.
fn look_up(tables: &Tables, destination: IpAddr) -> RouteOutcome {
    let asks = |rule: &&Rule| {
        rule.looks_up && rule.destination.is_none_or(|network| network.contains(&destination))
    };
    let mut rules: Vec<&Rule> = tables.rules.iter().filter(asks).collect();
    rules.sort_by_key(|rule| rule.priority);
    let found = rules.into_iter().find_map(|rule| look_up_in(tables, rule.table, destination));
    found.unwrap_or(RouteOutcome::Refused(101))
}

/// The longest match of a table, then the lowest metric.
fn look_up_in(tables: &Tables, table: u32, destination: IpAddr) -> Option<RouteOutcome> {
    let up = |index: Option<u32>| index.and_then(|it| tables.link(it)).is_none_or(|link| link.up);
    let best = tables
        .routes
        .iter()
        .filter(|route| route.table == table && route.destination.contains(&destination))
        .filter(|route| route.next_hops.iter().all(|hop| up(hop.ifindex)))
        .min_by_key(|route| (u8::MAX - route.destination.prefix_len(), route.metric))?;
    Some(match best.kind {
        RouteKind::Blackhole => RouteOutcome::Refused(22),
        RouteKind::Unreachable => RouteOutcome::Refused(113),
        RouteKind::Prohibit => RouteOutcome::Refused(13),
        _ => RouteOutcome::Route(best.clone()),
    })
}
