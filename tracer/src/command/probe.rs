//! `check --probe`: what peers answer, into the evidence. Whatever goes wrong is told, and everything
//! else goes on.

use anyhow::Context as _;
use jiff::Timestamp;
use tracer::{
    evidence::{Evidence, PeerProbe, Probes},
    probe::{self, PeerQuestion},
    topology::Topologies,
};

use super::clock;

/// Asks all peers that have a route over the overlay device.
pub(super) fn probe(evidence: &mut Evidence) {
    let (questions, left_out) = probe::questions(&Topologies::of(evidence));
    match ask(questions) {
        Ok(peers) => {
            let seconds = Timestamp::now().duration_since(evidence.window.start).as_secs_f64();
            evidence.probes = Some(Probes { seconds, peers });
            if left_out > 0 {
                evidence
                    .unseen
                    .push(format!("which sizes pass to {left_out} more peers: too many"));
            }
        }
        Err(error) => evidence.unseen.push(format!("probes: {error:#}")),
    }
}

fn ask(questions: Vec<PeerQuestion>) -> anyhow::Result<Vec<PeerProbe>> {
    let runtime = clock()?;
    runtime.block_on(probe::ask(questions)).context("sending packets to the peers")
}
