//! Asks the kernel's table of connections where flows to services' addresses go: few single
//! questions. Whatever goes wrong is told, and everything else goes on.

use tracer::{
    netlink::Connections,
    observe::{Asked, Questions},
};

/// Questions of one check, in its middle and at its end together.
const A_CHECK: usize = 256;
/// Questions of `run` and `watch` at one reading of the flows. There are two in each window, and
/// none is shorter than five seconds: not more than 20 a second.
pub(super) const AT_A_READING: usize = 50;

/// The table of connections, opened when it is first asked.
#[derive(Default)]
pub(super) struct Services {
    connections: Option<Connections>,
    /// Why there are no answers.
    failure: Option<String>,
    left_out: u64,
}

impl Services {
    /// Asks, unless that has failed before: later in this window it would fail again.
    pub(super) fn ask(&mut self, questions: Questions) -> Asked {
        self.left_out = questions.left_out;
        let is_nothing = questions.flows.is_empty() && questions.behind.is_empty();
        if is_nothing || self.failure.is_some() {
            return Asked::default();
        }
        self.try_to_ask(&questions).unwrap_or_else(|error| {
            self.failure = Some(format!("{error:#}"));
            self.connections = None;
            Asked::default()
        })
    }

    /// Says what could not be told in this window; the next one begins anew.
    pub(super) fn tell_unseen(&mut self, unseen: &mut Vec<String>) {
        let left_out = std::mem::take(&mut self.left_out);
        if let Some(failure) = self.failure.take() {
            unseen.push(format!("to which pods the addresses of services lead: {failure}"));
        } else if left_out > 0 {
            unseen.push(format!(
                "whether {left_out} more flows are to services: the kernel is asked for the busiest \
                 ones only"
            ));
        }
    }

    fn try_to_ask(&mut self, questions: &Questions) -> anyhow::Result<Asked> {
        let connections = match &mut self.connections {
            Some(open) => open,
            closed => closed.insert(Connections::open()?),
        };
        let answers = questions.flows.iter().map(|flow| Ok((*flow, connections.look_up(flow)?)));
        let answers = answers.collect::<anyhow::Result<_>>()?;
        let mut opened = Vec::new();
        for flow in &questions.behind {
            opened.extend(connections.opened_as(flow)?.map(|opened| (*flow, opened)));
        }
        Ok(Asked { answers, opened })
    }
}

/// How many questions a check may ask in its middle, and then at its end.
pub(super) fn of_a_check(earlier: Option<&Asked>) -> usize {
    earlier.map_or(A_CHECK / 2, |earlier| A_CHECK - earlier.answers.len())
}
