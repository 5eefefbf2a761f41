//! What is asked over HTTP.

use tracer::{
    daemon::http::Question,
    evidence::Capability,
    export::prometheus::{Snapshot as Metrics, render},
    kernel,
};

use super::{Rounds, session, tell::Teller};

impl Rounds<'_> {
    /// Answers who asks over HTTP.
    pub(super) fn answer(&mut self, question: Question) -> anyhow::Result<()> {
        // Who asked may have gone.
        match question {
            Question::Metrics(form, answer) => {
                let reading = self.session.read()?;
                self.totals.read(self.session.peers(), &reading);
                self.note_seen();
                if let Some(paired) = self.session.read_dns()? {
                    self.dns.read(self.began.elapsed().as_secs_f64(), &paired);
                }
                let _ = answer.send(render(&self.metrics(), form)?);
            }
            Question::Ready(answer) => {
                let _ = answer.send(session::readiness(self.session.hooks()));
            }
            Question::Alive(answer) => {
                let _ = answer.send(());
            }
        }
        Ok(())
    }

    /// What works here, and what does not.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        let (hooks, drops) = (self.session.hooks(), self.dropping.capabilities());
        match &self.standing {
            Some(standing) => kernel::capabilities_beside(Ok(hooks), drops, standing),
            None => kernel::capabilities(Ok(hooks), drops),
        }
    }

    fn metrics(&self) -> Metrics {
        let (sights, sight_capacity) = self.session.sights();
        Metrics {
            node: self.known.node.clone(),
            node_ip: self.judged.node_ip,
            pod_cidrs: self.judged.pod_cidrs.clone(),
            sums: self.totals.sums(),
            peers: self.judged.peers.clone(),
            last_seen: self.last_seen.clone(),
            findings: self.lives.open().cloned().collect(),
            interfaces: self.judged.interfaces.clone(),
            flannel: self.known.flannel.clone(),
            capabilities: self.capabilities(),
            hooks: self.session.hooks().to_vec(),
            table_changes: self.live.changes().clone(),
            dns: self.session.pairs_dns().then(|| self.dns.sums()),
            drops: self.dropping.is_on().then(|| self.dropped.totals().clone()),
            vips: self.vip_metrics(),
            vips_forgotten: self.answering.forgotten(),
            vips_without_room: self.vips.as_ref().map_or(0, |table| table.without_room),
            netlink_overruns: self.live.overruns(),
            events_lost: self.teller.as_ref().map_or(0, Teller::lost),
            flows: self.flows as u64,
            flow_capacity: u64::from(self.session.flow_capacity()),
            slots: self.session.peers().len() as u64,
            slot_capacity: self.session.room() as u64,
            sights,
            sight_capacity,
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("FLANNEL_TRACER_COMMIT").unwrap_or("unknown"),
        }
    }
}
