//! Flows to services' addresses: asked for in the middle of a window and again at its end.

use tracer::{
    kernel::FlowReading,
    observe::{Asked, questions},
    topology::Topologies,
};

use super::{super::services::AT_A_READING, Rounds, Snapshot, Window};

impl Rounds<'_> {
    /// Reads the maps in the middle of a window, and takes over the totals. How many flows were
    /// evicted is told at its end: here the flows are older than the number of those inserted.
    pub(super) async fn read_in_middle(&mut self, window: &Window) -> anyhow::Result<Snapshot> {
        let take =
            Snapshot::take_in_middle(&mut self.session, &mut self.dropping, &mut self.answering);
        let mut middle = take.await?;
        self.take_over(&middle);
        middle.asked = self.ask(window, &middle.flows, None);
        Ok(middle)
    }

    /// The same at its end.
    pub(super) async fn read_at_end(&mut self, window: &Window) -> anyhow::Result<Snapshot> {
        let mut end = self.read(&window.followed()).await?;
        end.asked = self.ask(window, &end.flows, Some(&window.asked()));
        Ok(end)
    }

    fn ask(&mut self, window: &Window, flows: &[FlowReading], earlier: Option<&Asked>) -> Asked {
        if window.is_broken {
            // Nothing will be said of its packets.
            return Asked::default();
        }
        let (tables, intent) = (Some(&window.tables), &self.known.intent);
        let own = Topologies::from_parts(tables, intent, &window.roles, None).own_cidrs();
        let networks = (own.as_slice(), self.session.peers());
        let both = (window.first_flows(), flows);
        self.services.ask(questions(networks, both, earlier, AT_A_READING))
    }
}
