//! The end of a window: evidence, judgement, and what is told of it.

use std::net::IpAddr;

use ipnet::IpNet;
use tracer::{
    daemon::{
        event::{Event, Reason, What, of_dns},
        life::{Look, Turn},
    },
    diagnose::{Diagnosis, PeerVerdict, diagnose_but},
    evidence::{Evidence, Link, SCHEMA, StageCounts},
    export::{prometheus::Interface, role_links},
    statistics::{self, Reading},
};

use super::{
    super::{Failure, collect, dns_rules, drops::overlays, vips::Around},
    Roles, Rounds, Snapshot, Timestamp, Told, Topologies, Window, kernel,
    vips::own_macs,
};

/// What the last window said, as far as others ask for it.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) node_ip: Option<IpAddr>,
    pub(super) pod_cidrs: Vec<IpNet>,
    pub(super) peers: Vec<PeerVerdict>,
    pub(super) interfaces: Vec<Interface>,
}

// === impl Rounds ===

impl Rounds<'_> {
    /// Judges a window and begins the next.
    pub(super) async fn turn(&mut self, window: Window, end: Snapshot) -> anyhow::Result<()> {
        let is_whole = !window.is_broken && self.live.is_in_step();
        let (start, length) = (window.start, window.seconds());
        // The end of this window is the beginning of the next.
        let counters = statistics::read();
        let mut judged = None;
        // Tables that are out of step would be judged as if flannel had written them.
        if self.live.is_in_step() {
            match self.evidence(window, &end, length, counters.clone()) {
                Ok(evidence) => {
                    let causes = self.judge(&evidence, is_whole, start);
                    self.tell_of_vips(&evidence);
                    self.tell_of_dns(&evidence);
                    judged = Some((evidence, causes));
                }
                Err(failure) => tracing::warn!("a window is not judged: {:#}", failure.error),
            }
        }
        if let Some(reading) = &end.dropped {
            self.count_drops(reading, judged.as_ref());
        }
        // With thousands of peers two windows' tables at a time are too many.
        drop(judged);
        self.begin_window(Some(end), counters).await
    }

    /// Tells of queries without an answer, unless only some flows are asked for.
    fn tell_of_dns(&mut self, evidence: &Evidence) {
        if matches!(self.wanted.told, Told::Drops(Some(_))) {
            return;
        }
        for (what, count) in evidence.dns.iter().flat_map(of_dns) {
            self.tell(what, count);
        }
    }

    /// Begins a window with the tables as they are, where `opening` was taken if counts of then
    /// and later can be compared.
    pub(super) async fn begin_window(
        &mut self,
        opening: Option<Snapshot>,
        counters: Reading,
    ) -> anyhow::Result<()> {
        if self.known.refresh(&self.wanted.look.node) {
            self.standing = Some(kernel::Standing::read());
        }
        let mut tables = self.live.tables();
        let roles = match collect::detect_roles(&mut tables, &self.known.intent) {
            Ok(Ok(roles)) => roles,
            Ok(Err(problem)) => {
                tracing::debug!("the devices' roles cannot be told: {problem}");
                Roles::default()
            }
            Err(failure) => return Err(failure.error),
        };
        self.own_macs = own_macs(&tables);
        self.follow_vips(&tables, &roles);
        let opening = match opening.filter(|_| self.replan_due.is_none()) {
            Some(opening) if !self.follow(&tables, &roles)? => opening,
            _ => self.read(&[]).await?,
        };
        self.window = Some(Window::begin(tables, roles, Some(opening), counters));
        Ok(())
    }

    fn evidence(
        &mut self,
        mut window: Window,
        end: &Snapshot,
        seconds: f64,
        counters: Reading,
    ) -> Result<Evidence, Failure> {
        let tables = std::mem::take(&mut window.tables);
        let since = std::mem::take(&mut window.counters);
        let roles = window.roles.clone();
        let start = window.start;
        let topologies = Topologies::from_parts(Some(&tables), &self.known.intent, &roles, None);
        let mut seen = window.end(&self.session, &topologies.own_cidrs(), end);
        if let Some(traffic) = &mut seen.traffic {
            // A former peer keeps its slot, and is none while nothing is sent to it.
            traffic.peers.retain(|it| {
                let is_silent = it.packets == StageCounts::default() && it.leaked == 0;
                !is_silent || topologies.peer(it.cidr).is_some()
            });
        }
        let overlays = overlays(Some(&tables), &roles);
        let drops = seen.dropped.and_then(|it| self.dropping.between(&it, &overlays));
        let around = Around { tables: &tables, intent: &self.known.intent, roles: &roles };
        let vips = seen.vips.and_then(|[start, middle, end]| {
            self.answering.between([&start, &middle, &end], around)
        });
        let mut unseen = self.known.unseen.clone();
        self.dropping.tell_unseen(&mut unseen);
        unseen.extend(self.answering.unseen(&self.known.intent));
        unseen.extend(self.session.blind_to_rare());
        unseen.extend(self.session.blind_to_dns());
        unseen.extend(self.session.unsampled());
        self.services.tell_unseen(&mut unseen);
        let mut evidence = Evidence {
            schema: SCHEMA.to_owned(),
            node: self.known.node.clone(),
            window: tracer::evidence::Window { start, seconds },
            tables_only: false,
            intent: self.known.intent.clone(),
            roles,
            tables: Some(tables),
            tables_after: None,
            traffic: seen.traffic,
            drops,
            vips,
            dns: seen.dns,
            probes: None,
            statistics: None,
            hooks: self.session.hooks().to_vec(),
            capabilities: self.capabilities(),
            flannel: self.known.flannel.clone(),
            unseen,
        };
        dns_rules::fill(&mut evidence, &mut self.dns_rules);
        collect::count(&mut evidence, &since, counters);
        collect::ask_for_strangers(&mut evidence)?;
        collect::second_reading(&mut evidence, self.live.tables())?;
        Ok(evidence)
    }

    /// Judges, and says the cause of each drop.
    fn judge(
        &mut self,
        evidence: &Evidence,
        complete: bool,
        start: Timestamp,
    ) -> Vec<&'static str> {
        let diagnosis = diagnose_but(evidence, &self.wanted.look.ignore);
        self.judged.take_over(&diagnosis, evidence);
        let end = Timestamp::now();
        let turns = self.lives.look(Look { findings: diagnosis.findings, complete, start, end });
        let chosen = self.chosen();
        let is_told = |turn: &Turn| chosen.as_ref().is_none_or(|it| it.concerns(turn.finding()));
        let turns: Vec<Turn> = turns.into_iter().filter(is_told).collect();
        for turn in turns {
            let what = match turn {
                Turn::Opened(finding) => {
                    What::FindingOpened { finding: Box::new(finding), held: false }
                }
                Turn::Held(finding) => {
                    What::FindingOpened { finding: Box::new(finding), held: true }
                }
                Turn::Closed(finding) => {
                    What::FindingClosed { finding: Box::new(finding), reason: Reason::Gone }
                }
            };
            let event = Event::new(end, evidence.node.name.clone(), what);
            if let Some(teller) = &mut self.teller {
                teller.tell(event, Some(evidence));
            }
        }
        diagnosis.drop_causes
    }
}

// === impl Judged ===

impl Judged {
    fn take_over(&mut self, diagnosis: &Diagnosis, evidence: &Evidence) {
        self.node_ip = diagnosis.node_ip;
        self.pod_cidrs.clone_from(&diagnosis.pod_cidrs);
        self.peers.clone_from(&diagnosis.peers);
        let links = role_links(evidence);
        let is_up = |link: &Link| link.up && link.lower_up;
        let interface =
            |role, link: &Link| Interface { role, name: link.name.clone(), up: is_up(link) };
        self.interfaces = links.iter().map(|it| interface(it.role, it.link)).collect();
    }
}
